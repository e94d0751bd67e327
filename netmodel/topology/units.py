"""Text that stands for a quantity: sizes in bytes, durations, addresses, names. Each parser raises ValueError."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address

from netmodel.model import IPAddress, IPNetwork

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:us|µs|ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|µs|ms|s|m|h|d)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HOST_NAME = re.compile(r"(?=.{1,253}\.?$)[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})?)*\.?")
_INTERFACE_BYTES = 15  # Linux: IFNAMSIZ - 1


def size_bytes(text: str) -> int:
    """Read "512m", "1.5gb", "1024": multiples of 1024, as Docker has them."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is no size; write it like 64m, 512k or 1.5g')
    return int(float(match[1]) * 1024 ** _POWER[match[2].lower()])


def duration_s(text: str) -> float:
    """Read "5s", "1m30s", "250ms"."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f'"{text}" is no duration; write it like 5s, 250ms or 1m30s')
    return sum(float(part[1]) * _SECONDS[part[2]] for part in _DURATION_PART.finditer(text))


def address(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'"{text}" is not an IP address') from None


def address_v4(text: str) -> IPv4Address:
    parsed = address(text)
    if not isinstance(parsed, IPv4Address):
        raise ValueError(f'"{text}" is an IPv6 address; it belongs in ipv6_address')
    return parsed


def address_v6(text: str) -> IPv6Address:
    parsed = address(text)
    if not isinstance(parsed, IPv6Address):
        raise ValueError(f'"{text}" is an IPv4 address; it belongs in ipv4_address')
    return parsed


def address_link_local(text: str) -> IPAddress:
    found = address(text)
    if not found.is_link_local:
        raise ValueError(f'"{text}" is no link-local address; choose one of 169.254.0.0/16 or fe80::/10')
    return found


def subnet(text: str) -> IPNetwork:
    """Read "10.1.0.0/24"; bits after the prefix are a mistake, not to be dropped silently."""
    if "/" not in text:
        raise ValueError(f'"{text}" lacks a prefix length; write it like 10.1.0.0/24')
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text}" is no subnet; write it like 10.1.0.0/24 or fd00:1::/64') from None
    raise ValueError(f"{text} has bits set after its prefix; the subnet is {meant}")


def mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise ValueError(f'"{text}" is no MAC address; write it like 02:42:0a:01:00:02')
    canonical = text.replace("-", ":").lower()
    if int(canonical[:2], 16) & 1:
        raise ValueError(f"{text} is a multicast address; the first byte must be even")
    return canonical


def container_name(text: str) -> str:
    if not _CONTAINER_NAME.fullmatch(text):
        raise ValueError(
            f'"{text}" is no name; use letters, digits, "_", "." and "-", at least two, a letter or digit first'
        )
    return text


def host_name(text: str) -> str:
    if not _HOST_NAME.fullmatch(text):
        raise ValueError(f'"{text}" is no host name; use letters, digits and "-", parts joined by dots')
    return text


def interface_name(text: str) -> str:
    """Read a link's name.

    Source: Linux net/core/dev.c, dev_valid_name().
    """
    if not text or text in (".", "..") or "/" in text or ":" in text or any(c.isspace() for c in text):
        raise ValueError(f'"{text}" is no interface name; it may hold neither spaces nor "/" nor ":"')
    if len(text.encode()) > _INTERFACE_BYTES:
        raise ValueError(
            f'"{text}" is too long; the kernel allows {_INTERFACE_BYTES} bytes, this has {len(text.encode())}'
        )
    if text == "lo":
        raise ValueError('"lo" is the loopback interface that every container has already')
    return text
