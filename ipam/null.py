"""The null IPAM driver: the network has no addresses that we know of."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from ipam.api import IPAddress, IPInterface, Pool, PoolRequest, Taken, Usage
from ipam.errors import NoAddresses, UnknownOption


class NullIpam:
    """For networks whose addresses somebody else gives out, or that need none."""

    name = "null"
    has_addresses = False

    def request_pool(self, request: PoolRequest, taken: Iterable[Taken] = ()) -> Pool:
        """Give the pool that stands for no pool; every network may have it at once."""
        if request.options:
            raise UnknownOption(self.name, next(iter(request.options)))
        if request.subnet or request.size or request.ip_range or request.gateway or request.auxiliary:
            raise NoAddresses(self.name)
        everything = IPv4Network("0.0.0.0/0") if request.family == 4 else IPv6Network("::/0")
        return Pool(id=f"null/{everything}", subnet=everything)

    def release_pool(self, pool_id: str) -> None:
        """Nothing is held."""

    def request_address(self, pool_id: str, address: IPAddress | None = None) -> IPInterface:
        """Refuse: there are none."""
        raise NoAddresses(self.name)

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Nothing is held."""

    def usage(self, pool_id: str) -> Usage:
        return Usage(in_use=0, available=0)
