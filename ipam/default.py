"""The default IPAM driver: subnets chosen, or carved from default pools; all of it in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from threading import Lock

from ipam.api import IPAddress, IPInterface, IPNetwork, Pool, PoolRequest, Taken, Usage
from ipam.check import check, check_subnet
from ipam.errors import NoFreeSubnet, PoolOverlap, UnknownOption, UnknownPool
from ipam.held import HeldPool
from ipam.subnets import DEFAULT_V4, DefaultPool, Subnets, overlap, span, ula_pool


class DefaultIpam:
    """Hands out subnets that never overlap, and each address of one to one owner.

    A pool's id is its subnet, so that asking again for what was had before a restart gives the same.

    Args:
        default_pools_v4: Tried in order for automatic subnets.
        default_pools_v6: Likewise; a host should have its own, see ula_pool().

    Raises:
        BadPool: A default pool is none of its family's, or one that no container can use.
    """

    name = "default"
    has_addresses = True

    def __init__(
        self,
        default_pools_v4: Sequence[DefaultPool] = DEFAULT_V4,
        default_pools_v6: Sequence[DefaultPool] = (ula_pool("netmodel"),),
    ) -> None:
        self._defaults: dict[int, Sequence[DefaultPool]] = {4: default_pools_v4, 6: default_pools_v6}
        for family, pools in self._defaults.items():
            for pool in pools:
                check_subnet(pool.base, family)
        self._subnets = {4: Subnets(), 6: Subnets()}
        self._pools: dict[str, HeldPool] = {}
        # One for all: every call is a few microseconds of arithmetic.
        self._lock = Lock()

    def request_pool(self, request: PoolRequest, taken: Iterable[Taken] = ()) -> Pool:
        """Reserve a subnet, its gateway and its auxiliary addresses, or nothing at all.

        Default routes in taken, whole or in halves, are passed over: they cover every address there is.
        """
        if request.options:
            raise UnknownOption(self.name, next(iter(request.options)))
        check(request)
        busy = [t for t in taken if t.prefix.version == request.family and t.prefix.prefixlen > 1]
        with self._lock:
            subnet = self._carve(request, busy) if request.subnet is None else self._choose(request.subnet, busy)
            held = HeldPool(subnet, request)
            self._subnets[request.family].add(subnet)
            self._pools[held.pool.id] = held
        return held.pool

    def release_pool(self, pool_id: str) -> None:
        """Give a pool back, with every address in it; an unknown pool is no error."""
        with self._lock:
            held = self._pools.pop(pool_id, None)
            if held is not None:
                self._subnets[held.subnet.version].remove(held.subnet)

    def request_address(self, pool_id: str, address: IPAddress | None = None) -> IPInterface:
        """Reserve one address: this one, anywhere in the subnet, or the next free of the range."""
        with self._lock:
            held = self._held(pool_id)
            number = held.take() if address is None else held.reserve(address)
        subnet = held.subnet
        if subnet.version == 4:
            return IPv4Interface((number, subnet.prefixlen))
        return IPv6Interface((number, subnet.prefixlen))

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Give an address back; one that is free already is no error."""
        with self._lock:
            held = self._pools.get(pool_id)
            if held is not None:
                held.release(address)

    def usage(self, pool_id: str) -> Usage:
        """Count what is used, and what is left for dynamic addresses."""
        with self._lock:
            held = self._held(pool_id)
            return Usage(in_use=held.in_use, available=held.available, special=held.special)

    def _held(self, pool_id: str) -> HeldPool:
        held = self._pools.get(pool_id)
        if held is None:
            raise UnknownPool(pool_id)
        return held

    def _carve(self, request: PoolRequest, busy: Sequence[Taken]) -> IPNetwork:
        pools = self._defaults[request.family]
        spans = (span(t.prefix) for t in busy)
        subnet = self._subnets[request.family].carve(pools, request.size, spans)
        if subnet is None:
            raise NoFreeSubnet(request.family, request.size, [str(pool) for pool in pools])
        return subnet

    def _choose(self, subnet: IPNetwork, busy: Sequence[Taken]) -> IPNetwork:
        # What the caller knows comes first: it can name the network, we know only its prefix.
        for other in busy:
            if overlap(subnet, other.prefix):
                raise PoolOverlap(subnet, other.prefix, other.by)
        clash = self._subnets[subnet.version].overlapping(subnet)
        if clash is not None:
            held = next(held for held in self._pools.values() if span(held.subnet) == clash)
            raise PoolOverlap(subnet, held.subnet, "another network")
        return subnet
