"""Reading the values of settings. Each reader is given what stands before its message: file and key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

from drivers import options
from drivers.bridge_options import LARGEST_MTU, SMALLEST_MTU
from drivers.errors import InvalidOption
from drivers.firewall import Mark
from ipam import DefaultPool
from netmodel.errors import Invalid
from netmodel.model import IPAddress, IPInterface, IPNetwork

Reader = Callable[[str, Any], Any]
_STORAGE = {"overlay": "overlay", "overlay2": "overlay", "overlayfs": "overlay", "copy": "copy", "vfs": "copy"}
_POOLS_HINT = 'write it as [{"base": "10.200.0.0/16", "size": 24}]'


def flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{where}: {json.dumps(value)} is neither true nor false", "write true or false, without quotes")
    return value


def mtu(where: str, value: Any) -> int:
    if type(value) is not int or not SMALLEST_MTU <= value <= LARGEST_MTU:
        raise Invalid(
            f"{where}: {json.dumps(value)} is not a number of bytes from {SMALLEST_MTU} to {LARGEST_MTU}",
            "leave it out to have that of the host's default route",
        )
    return value


def microseconds(where: str, value: Any) -> int:
    if type(value) is not int or value <= 0:
        raise Invalid(f"{where}: {json.dumps(value)} is no number of microseconds", "at least 1; 950000 is usual")
    return value


def link_name(where: str, value: Any) -> str:
    text = _text(where, value)
    try:
        return options.link_name({"": text}, "", "")
    except InvalidOption as error:
        raise Invalid(f"{where}: {text!r} is no name for a link", error.hint) from error


def address(version: Literal[0, 4, 6]) -> Reader:
    def read(where: str, value: Any) -> IPAddress:
        text = _text(where, value)
        try:
            found = ip_address(text)
        except ValueError:
            found = None
        if found is None or version not in (0, found.version):
            raise Invalid(f"{where}: {text!r} is not an IP{f'v{version}' if version else ''} address")
        return found

    return read


def interface(version: Literal[4, 6]) -> Reader:
    """An address and its subnet in one."""
    example = "10.200.0.1/24" if version == 4 else "fd00:200::1/64"

    def read(where: str, value: Any) -> IPInterface:
        text = _text(where, value)
        try:
            found = ip_interface(text)
        except ValueError:
            found = None
        if found is None or found.version != version or "/" not in text:
            raise Invalid(
                f"{where}: {text!r} is not an IPv{version} address with its prefix length", f"write it as {example}"
            )
        subnet = found.network
        if subnet.prefixlen < subnet.max_prefixlen - 1 and found.ip == subnet.network_address:
            raise Invalid(f"{where}: {text} is a subnet, not an address in one", f"write it as {example}")
        return found

    return read


def network(version: Literal[4, 6]) -> Reader:
    def read(where: str, value: Any) -> IPNetwork:
        text = _text(where, value)
        try:
            found = ip_network(text)
        except ValueError as error:
            raise Invalid(f"{where}: {error}", "write it as ADDRESS/LENGTH, the address with no bits beyond") from error
        if found.version != version:
            raise Invalid(f"{where}: {text} is not an IPv{version} subnet")
        return found

    return read


def mark(where: str, value: Any) -> Mark:
    try:
        return Mark.read(_text(where, value))
    except ValueError as error:
        raise Invalid(f"{where}: {error}", 'write it as "1" or "0x10/0xff"') from error


def storage_driver(where: str, value: Any) -> str:
    """A graph driver's name; Docker's names for the same two are understood."""
    text = _text(where, value)
    if text not in _STORAGE:
        raise Invalid(f"{where}: there is no storage driver {text!r}", "overlay or copy")
    return _STORAGE[text]


def gateways(where: str, value: Any) -> tuple[IPAddress, ...]:
    if not isinstance(value, list):
        raise Invalid(f"{where}: not a list", 'write it as ["192.0.2.1", "2001:db8::1"]')
    found = tuple(address(0)(where, one) for one in value)
    for version in (4, 6):
        same = [str(one) for one in found if one.version == version]
        if len(same) > 1:
            raise Invalid(f"{where}: two IPv{version} addresses: {', '.join(same)}", "give one of each family at most")
    return found


def directories(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Invalid(f"{where}: not a list", 'write it as ["/etc/cdi", "/var/run/cdi"]')
    for one in value:
        if not _text(where, one).startswith("/"):
            raise Invalid(f"{where}: {one!r} is not absolute", "begin it with '/'")
    return tuple(value)


def name_servers(where: str, value: Any) -> tuple[IPAddress, ...]:
    found = tuple(address(0)(where, one) for one in _texts(where, value, '["192.0.2.53"]'))
    if len(found) > 3:
        raise Invalid(f"{where}: {len(found)} servers", "name three at most: no more are asked")
    return found


def domains(where: str, value: Any) -> tuple[str, ...]:
    return _texts(where, value, '["example.org"]')


def resolver_options(where: str, value: Any) -> tuple[str, ...]:
    return _texts(where, value, '["ndots:1", "timeout:2"]')


def _texts(where: str, value: Any, example: str) -> tuple[str, ...]:
    """A list of words."""
    if not isinstance(value, list):
        raise Invalid(f"{where}: not a list", f"write it as {example}")
    for one in value:
        if len(_text(where, one).split()) != 1:
            raise Invalid(f"{where}: {one!r} is not one word", f"write it as {example}")
    return tuple(value)


def network_options(where: str, value: Any) -> Mapping[str, Mapping[str, str]]:
    if not _is_options(value):
        raise Invalid(
            f"{where}: not options by driver", 'write it as {"bridge": {"com.docker.network.driver.mtu": "1400"}}'
        )
    found: Mapping[str, Mapping[str, str]] = value
    return found


def _is_options(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(of_driver, dict) and all(isinstance(text, str) for text in of_driver.values())
        for of_driver in value.values()
    )


def pools(where: str, value: Any) -> tuple[DefaultPool, ...]:
    if not isinstance(value, list):
        raise Invalid(f"{where}: not a list", _POOLS_HINT)
    return tuple(_pool(where, one) for one in value)


def _pool(where: str, value: Any) -> DefaultPool:
    if not isinstance(value, dict) or set(value) != {"base", "size"}:
        raise Invalid(f"{where}: {json.dumps(value)} does not have just a base and a size", _POOLS_HINT)
    if not isinstance(value["base"], str) or type(value["size"]) is not int:
        raise Invalid(f"{where}: {json.dumps(value)} is not a base in quotes and a size in bits", _POOLS_HINT)
    try:
        return DefaultPool(ip_network(value["base"]), value["size"])
    except ValueError as error:
        raise Invalid(f"{where}: {error}", _POOLS_HINT) from error


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{where}: {json.dumps(value)} is no text", "write it in quotes")
    return value
