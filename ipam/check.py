"""Refuses pool requests that contradict themselves, before anything is looked for."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from ipam.api import IPNetwork, PoolRequest
from ipam.errors import BadPool
from ipam.subnets import overlap

# No link of a container can have these.
NOT_FOR_HOSTS: tuple[tuple[IPNetwork, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "the range that means this host"),
    (IPv4Network("127.0.0.0/8"), "the loopback range"),
    (IPv4Network("224.0.0.0/4"), "the multicast range"),
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv6Network("::/127"), "the loopback address"),
    (IPv6Network("::ffff:0:0/96"), "IPv4 addresses as IPv6 sockets show them"),
    (IPv6Network("ff00::/8"), "the multicast range"),
)
GIVE_SUBNET = "give the subnet as well"


def check(request: PoolRequest) -> None:
    """Raise BadPool if the parts of the request do not fit together."""
    if request.subnet is None:
        _check_automatic(request)
    else:
        check_subnet(request.subnet, request.family)
        if request.ip_range is not None:
            _check_range(request.subnet, request.ip_range)


def _check_automatic(request: PoolRequest) -> None:
    longest = 32 if request.family == 4 else 128
    if request.size is not None and not 1 <= request.size <= longest:
        raise BadPool(f"/{request.size} is no size of an IPv{request.family} subnet", f"choose one from 1 to {longest}")
    if request.ip_range is not None:
        raise BadPool(f"ip_range {request.ip_range} has no subnet to lie in", GIVE_SUBNET)
    if request.gateway is not None:
        raise BadPool(f"gateway {request.gateway} has no subnet to lie in", GIVE_SUBNET)
    for name, address in request.auxiliary.items():
        raise BadPool(f"auxiliary address {name}={address} has no subnet to lie in", GIVE_SUBNET)


def check_subnet(subnet: IPNetwork, family: int) -> None:
    """Raise BadPool if no link of a container can have its addresses."""
    if subnet.version != family:
        raise BadPool(f"subnet {subnet} is not an IPv{family} one")
    for special, meaning in NOT_FOR_HOSTS:
        if overlap(subnet, special):
            raise BadPool(f"subnet {subnet} overlaps with {special}, {meaning}", "choose one of the private ranges")


def _check_range(subnet: IPNetwork, ip_range: IPNetwork) -> None:
    if not overlap(subnet, ip_range) or ip_range.prefixlen < subnet.prefixlen:
        raise BadPool(f"ip_range {ip_range} is not inside subnet {subnet}", "make it a part of the subnet")
