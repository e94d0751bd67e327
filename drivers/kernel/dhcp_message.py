"""DHCP's messages as values; pyroute2 has the codec (RFC 2131, 2132), and here is what it leaves as bytes.

It is imported by who needs it: 140 ms that an engine without leases does not pay.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

# Of RFC 2132, section 9.6.
_DISCOVER, _REQUEST, _RELEASE = 1, 3, 7
_KINDS: dict[int, Literal["offer", "ack", "nak"]] = {2: "offer", 5: "ack", 6: "nak"}
_SENT = {"discover": _DISCOVER, "request": _REQUEST, "release": _RELEASE}
_BROADCAST = 0x8000
# Mask, routes before the router as RFC 3442 wants, name servers, domain, MTU, times, server, search list.
_WANTED = [1, 121, 3, 6, 15, 26, 51, 54, 58, 59, 119]
# The largest answer, headers of IP and UDP included: every Ethernet carries it.
_LARGEST = 1500
_SMALLEST = 300  # of BOOTP, below which some relays drop a message (RFC 1542, section 2.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a client sends.

    Args:
        client_id: Option 61 as it is on the wire, its type included.
        secs: Since the client began to ask.
        client_address: That it has now (ciaddr).
        requested: That it wants (option 50).
        server: Which one is meant (option 54).
        broadcast: The answer is to go to everybody: the client has no address yet.
    """

    kind: Literal["discover", "request", "release"]
    xid: int
    mac: str
    client_id: bytes
    host_name: str = ""
    secs: int = 0
    client_address: IPv4Address | None = None
    requested: IPv4Address | None = None
    server: IPv4Address | None = None
    broadcast: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server sends; options that are missing or make no sense have their default.

    Args:
        routes: Destinations and gateways (option 121); None where everything of it is on the link.
        lease_s: None is for ever; so with the other two, which are 0 where the server does not say.
        text: The server's own words.
    """

    kind: Literal["offer", "ack", "nak"]
    xid: int
    mac: str
    address: IPv4Address
    server: IPv4Address | None = None
    mask: IPv4Address | None = None
    routers: tuple[IPv4Address, ...] = ()
    routes: tuple[tuple[IPv4Network, IPv4Address | None], ...] = ()
    name_servers: tuple[IPv4Address, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int = 0
    lease_s: int | None = 0
    renewal_s: int | None = 0
    rebinding_s: int | None = 0
    text: str = ""


def pack(question: Question) -> bytes:
    from pyroute2.dhcp.dhcp4msg import dhcp4msg

    kind = question.client_id[0]
    key: str | bytes = question.client_id[1:].hex(":") if kind == 1 else question.client_id[1:]
    options: dict[str, Any] = {"message_type": _SENT[question.kind], "client_id": {"type": kind, "key": key}}
    if question.requested is not None:
        options["requested_ip"] = str(question.requested)
    if question.server is not None:
        options["server_id"] = str(question.server)
    if question.kind != "release":
        options["parameter_list"] = _WANTED
        options["max_msg_size"] = _LARGEST
        if question.host_name:
            options["host_name"] = question.host_name
    message = dhcp4msg(
        {
            "op": 1,
            "xid": question.xid,
            "secs": min(question.secs, 0xFFFF),
            "flags": _BROADCAST if question.broadcast else 0,
            "ciaddr": str(question.client_address or IPv4Address(0)),
            "chaddr": question.mac,
            "options": options,
        }
    )
    packed = bytes(message.encode().buf)
    return packed + b"\0" * (_SMALLEST - len(packed))


def unpack(data: bytes) -> Answer | None:
    """Read what came to the client's port; None for what is no answer of a DHCP server."""
    from pyroute2.dhcp.dhcp4msg import dhcp4msg

    try:
        message = dhcp4msg(buf=data).decode()
        options = message["options"]
        kind = _KINDS.get(int(options.get("message_type", 0)))
        if message["op"] != 2 or kind is None:
            return None
        return Answer(
            kind=kind,
            xid=message["xid"],
            mac=message["chaddr"],
            address=IPv4Address(message["yiaddr"]),
            server=_address(options.get("server_id")),
            mask=_address(options.get("subnet_mask")),
            routers=_addresses(options.get("router")),
            routes=_routes(_octets(_raw(options, 121))),
            name_servers=_addresses(options.get("name_server")),
            search=_search(options),
            mtu=int(options.get("interface_mtu", 0)),
            lease_s=_seconds(options.get("lease_time", 0)),
            renewal_s=_seconds(options.get("renewal_time", 0)),
            rebinding_s=_seconds(options.get("rebinding_time", 0)),
            text=str(options.get("message", "")),
        )
    # Anybody may send anything to this port, and the codec checks no lengths.
    except (ValueError, LookupError, struct.error):
        return None


def _raw(options: dict[str, Any], code: int) -> object:
    """An option that the codec knows by name alone, or not even by that."""
    from pyroute2.dhcp.enums.dhcp import Option

    name = f"option{code}"
    with suppress(ValueError):
        name = Option(code).name.lower()
    return options.get(name)


def _octets(value: object) -> bytes:
    return bytes(value) if isinstance(value, list) else b""


def _address(text: object) -> IPv4Address | None:
    return IPv4Address(text) if isinstance(text, str) else None


def _addresses(texts: Sequence[str] | None) -> tuple[IPv4Address, ...]:
    return tuple(IPv4Address(text) for text in texts or ())


def _seconds(value: int) -> int | None:
    """The codec reads these with a sign: what seems negative is 68 years or more."""
    return None if value < 0 else value


def _routes(data: bytes) -> tuple[tuple[IPv4Network, IPv4Address | None], ...]:
    """Prefix length, as many octets of the prefix as it has, and the gateway (RFC 3442)."""
    found = []
    while data:
        length = data[0]
        end = 1 + (length + 7) // 8
        if length > 32 or len(data) < end + 4:
            raise ValueError("a classless route is cut off")
        prefix = IPv4Network((data[1:end].ljust(4, b"\0"), length), strict=False)
        gateway = IPv4Address(data[end : end + 4])
        found.append((prefix, None if gateway.is_unspecified else gateway))
        data = data[end + 4 :]
    return tuple(found)


def _search(options: dict[str, Any]) -> tuple[str, ...]:
    """The search list, or else the one domain."""
    found = _names(_octets(_raw(options, 119)))
    domain = options.get("domain_name")
    if not found and isinstance(domain, str):
        found = tuple(domain.split())
    return tuple(name for name in found if _is_domain(name))


def _is_domain(name: str) -> bool:
    """It goes into a resolv.conf: nothing but letters, digits and what else a domain may have."""
    return name.isascii() and bool(name) and all(one.isalnum() or one in "-._" for one in name)


def _names(data: bytes) -> tuple[str, ...]:
    """Domain names, one after the other, which may end in a pointer back (RFC 3397, RFC 1035 section 4.1.4)."""
    names = []
    at = 0
    while at < len(data):
        labels, at = _name(data, at)
        names.append(".".join(labels))
    return tuple(names)


def _name(data: bytes, at: int) -> tuple[list[str], int]:
    labels: list[str] = []
    begin = at  # of the part that is read; each pointer leads before it, or it could lead in a circle
    end = 0  # where the next name begins, once a pointer has led away
    while (length := data[at]) != 0:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | data[at + 1]
            if target >= begin:
                raise ValueError("a pointer that does not lead back")
            end = end or at + 2
            begin = at = target
            continue
        labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    return labels, end or at + 1
