"""x-routes: routes of a service's own, in the words of `ip route add`."""

from __future__ import annotations

import ipaddress

from netmodel.model import IPAddress, IPNetwork, RouteConfig
from netmodel.topology import units
from netmodel.topology.value import Fields, Value

_HINT = (
    'write it like "default via 10.1.0.1", "10.3.0.0/24 via 10.0.12.2", "10.9.0.0/16 dev eth1" '
    'or "blackhole 10.8.0.0/16"'
)


class BadRoute(ValueError):
    hint = _HINT


def read(fields: Fields) -> list[tuple[RouteConfig, Value]]:
    found = []
    for item in fields.each("x-routes"):
        route = item.parsed(parse, "text")
        if route is not None:
            found.append((route, item))
    return found


def parse(text: str) -> RouteConfig:
    """Read "DESTINATION [via ADDRESS] [dev INTERFACE]" or "blackhole DESTINATION"."""
    words = text.split()
    if words[:1] == ["blackhole"]:
        if len(words) != 2:
            raise BadRoute(f'"{text}" is no route')
        return RouteConfig(destination=_destination(words[1], 4), blackhole=True)
    if not words or len(words) % 2 == 0:
        raise BadRoute(f'"{text}" is no route')
    via: IPAddress | None = None
    dev: str | None = None
    for name, value in zip(words[1::2], words[2::2], strict=True):
        if name == "via" and via is None:
            via = units.address(value)
        elif name == "dev" and dev is None:
            dev = units.interface_name(value)
        else:
            raise BadRoute(f'"{name}" has no place in the route "{text}"')
    if via is None and dev is None:
        raise BadRoute(f'the route "{text}" leads nowhere')
    destination = _destination(words[0], via.version if via is not None else 4)
    if via is not None and via.version != destination.version:
        raise BadRoute(f"{destination} and its gateway {via} are of different families")
    return RouteConfig(destination=destination, via=via, dev=dev)


def _destination(word: str, family: int) -> IPNetwork:
    """A subnet, a single address, or everything there is of a family."""
    if word == "default":
        return ipaddress.ip_network("0.0.0.0/0" if family == 4 else "::/0")
    return units.subnet(word) if "/" in word else ipaddress.ip_network(units.address(word))
