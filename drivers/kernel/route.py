"""Routes of the main table."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from drivers.kernel import wire
from drivers.kernel.wire import Request

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# Source: Linux include/uapi/linux/rtnetlink.h.
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_TABLE = 1, 4, 5, 6, 7, 8, 15
RTAX_MTU = 2
RT_TABLE_MAIN = 254
RTPROT_STATIC = 4
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTN_UNICAST, RTN_BLACKHOLE = 1, 6
RTNH_F_ONLINK = 4
RTM_F_CLONED = 0x200
_AF_INET, _AF_INET6 = 2, 10
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route as the kernel tells it; link is an index, 0 where it has none or several."""

    destination: IPNetwork
    via: IPAddress | None = None
    link: int = 0
    metric: int = 0


def add_route(
    destination: IPNetwork,
    *,
    via: IPAddress | None = None,
    ifindex: int = 0,
    metric: int = 0,
    onlink: bool = False,
    source: IPAddress | None = None,
) -> Request:
    """Route a destination through a gateway, or to a link; a route that is there is replaced.

    Args:
        onlink: The gateway is on the link though no address of the link says so.
        metric: Lower wins; 0 is the kernel's default (1024 for IPv6).
    """
    scope = RT_SCOPE_LINK if via is None and destination.version == 4 else RT_SCOPE_UNIVERSE
    body = _message(destination, RTN_UNICAST, scope, RTNH_F_ONLINK if onlink else 0)
    if via is not None:
        body += wire.attribute(RTA_GATEWAY, via.packed)
    if ifindex:
        body += wire.u32(RTA_OIF, ifindex)
    if metric:
        body += wire.u32(RTA_PRIORITY, metric)
    if source is not None:
        body += wire.attribute(RTA_PREFSRC, source.packed)
    how = f"via {via}" if via is not None else f"over link {ifindex}"
    return Request(RTM_NEWROUTE, f"route {destination} {how}", wire.CREATE_OR_REPLACE, body)


def add_blackhole(destination: IPNetwork, metric: int = 0) -> Request:
    """Silently drop what goes to a destination."""
    body = _message(destination, RTN_BLACKHOLE, RT_SCOPE_UNIVERSE, 0)
    if metric:
        body += wire.u32(RTA_PRIORITY, metric)
    return Request(RTM_NEWROUTE, f"drop what goes to {destination}", wire.CREATE_OR_REPLACE, body)


def delete_route(destination: IPNetwork, *, via: IPAddress | None = None, ifindex: int = 0, metric: int = 0) -> Request:
    """Remove a route; one that is gone is no error."""
    body = _RTMSG.pack(_family(destination), destination.prefixlen, 0, 0, RT_TABLE_MAIN, 0, 255, 0, 0)
    body += wire.attribute(RTA_DST, destination.network_address.packed)
    if via is not None:
        body += wire.attribute(RTA_GATEWAY, via.packed)
    if ifindex:
        body += wire.u32(RTA_OIF, ifindex)
    if metric:
        body += wire.u32(RTA_PRIORITY, metric)
    return Request(
        RTM_DELROUTE, f"remove the route to {destination}", 0, body, (errno.ESRCH, errno.ENODEV, errno.ENOENT)
    )


def get_routes() -> Request:
    body = _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0) + wire.u32(RTA_TABLE, RT_TABLE_MAIN)
    return Request(RTM_GETROUTE, "list routes", wire.NLM_F_DUMP, body)


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """Where the kernel would send a packet: over which link, and the largest the route lets through (0: the link's)."""

    link: int
    mtu: int = 0


def get_way(destination: IPAddress, vrf: int = 0) -> Request:
    """Ask where a packet would go. Like: ip route get DESTINATION [vrf VRF]

    Args:
        vrf: Index of the VRF whose routes decide; 0 is the main ones.
    """
    family = _AF_INET if destination.version == 4 else _AF_INET6
    body = _RTMSG.pack(family, destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += wire.attribute(RTA_DST, destination.packed)
    if vrf:
        body += wire.u32(RTA_OIF, vrf)
    return Request(RTM_GETROUTE, f"find the way to {destination}", 0, body)


def read_way(kind: int, payload: memoryview) -> WayOut | None:
    if kind != RTM_NEWROUTE:
        return None
    found = wire.attributes(payload, _RTMSG.size)
    metrics = wire.attributes(found.get(RTA_METRICS, b""))
    return WayOut(link=wire.to_u32(found.get(RTA_OIF)), mtu=wire.to_u32(metrics.get(RTAX_MTU)))


def read_route(kind: int, payload: memoryview) -> Route | None:
    family, length, _src, _tos, table, _protocol, _scope, type_, flags = _RTMSG.unpack_from(payload)
    if kind != RTM_NEWROUTE or family not in (_AF_INET, _AF_INET6):
        return None
    if table != RT_TABLE_MAIN or type_ != RTN_UNICAST or flags & RTM_F_CLONED:
        return None
    found = wire.attributes(payload, _RTMSG.size)
    nowhere = b"\0" * (4 if family == _AF_INET else 16)
    gateway = found.get(RTA_GATEWAY)
    return Route(
        destination=ip_network((found.get(RTA_DST, nowhere), length)),
        via=wire.to_address(gateway) if gateway else None,
        link=wire.to_u32(found.get(RTA_OIF)),
        metric=wire.to_u32(found.get(RTA_PRIORITY)),
    )


def _message(destination: IPNetwork, type_: int, scope: int, flags: int) -> bytes:
    header = _RTMSG.pack(
        _family(destination), destination.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, type_, flags
    )
    return header + wire.attribute(RTA_DST, destination.network_address.packed)


def _family(destination: IPNetwork) -> int:
    return _AF_INET if destination.version == 4 else _AF_INET6
