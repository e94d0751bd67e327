"""Whatever is asked, in whatever order: one owner an address, none outside its range, nothing lost."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

import netaddr
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ipam.addresses import Addresses
from ipam.api import IPAddress, IPNetwork, Pool, PoolRequest, Taken
from ipam.default import DefaultIpam
from ipam.errors import AddressOutside, AddressTaken, IpamError, NoFreeSubnet, PoolExhausted, PoolOverlap
from ipam.subnets import DefaultPool

# Few and small, so that pools fill up, ranges clash and addresses come back within a short run.
SUBNETS: list[IPNetwork] = [
    IPv4Network("10.0.0.0/29"),
    IPv4Network("10.0.0.8/30"),
    IPv4Network("10.0.0.12/31"),
    IPv4Network("10.0.0.14/32"),
    IPv4Network("10.0.0.0/28"),
    IPv4Network("10.0.0.0/8"),
    IPv6Network("fd00::/125"),
    IPv6Network("fd00::8/127"),
    IPv6Network("fd00::a/128"),
    IPv6Network("fd00::/64"),
]

DEFAULTS = ([DefaultPool(IPv4Network("10.0.0.0/27"), 30)], [DefaultPool(IPv6Network("fd00::/123"), 126)])


def inside(subnet: IPNetwork) -> st.SearchStrategy[IPAddress]:
    first = int(subnet.network_address)
    nearby = st.integers(first, first + min(subnet.num_addresses, 20) - 1)
    return nearby.map(lambda n: type(subnet.network_address)(n))


def hosts(subnet: IPNetwork) -> netaddr.IPSet:
    """What netaddr says a host may have: an oracle that shares no code with us."""
    whole = netaddr.IPSet([str(subnet)])
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return whole
    special = [str(subnet[0])] + ([str(subnet[-1])] if subnet.version == 4 else [])
    return whole - netaddr.IPSet(special)


class Ipam(RuleBasedStateMachine):
    """The driver against a plain dictionary of owners."""

    def __init__(self) -> None:
        super().__init__()
        self.ipam = DefaultIpam(*DEFAULTS)
        self.pools: dict[str, Pool] = {}
        self.owned: dict[str, set[IPAddress]] = {}
        self.fixed: dict[str, set[IPAddress]] = {}
        self.dynamic: dict[str, netaddr.IPSet] = {}

    def _keep(self, pool: Pool) -> None:
        assert pool.id not in self.pools
        self.pools[pool.id] = pool
        fixed = {*pool.auxiliary.values(), *([pool.gateway] if pool.gateway else [])}
        self.fixed[pool.id], self.owned[pool.id] = fixed, set(fixed)
        self.dynamic[pool.id] = hosts(pool.subnet) & netaddr.IPSet([str(pool.ip_range or pool.subnet)])

    @rule(family=st.sampled_from([4, 6]), size=st.sampled_from([None, 30, 31, 32, 126, 127, 128]))
    def carve(self, family: int, size: int | None) -> None:
        assume(size is None or (family == 4) == (size <= 32))
        try:
            self._keep(self.ipam.request_pool(PoolRequest(family=family, size=size)))  # type: ignore[arg-type]
        except NoFreeSubnet:
            taken = netaddr.IPSet([str(p.subnet) for p in self.pools.values() if p.subnet.version == family])
            free = netaddr.IPSet(["10.0.0.0/27" if family == 4 else "fd00::/123"]) - taken
            wanted = size or (30 if family == 4 else 126)
            assert all(cidr.prefixlen > wanted for cidr in free.iter_cidrs())

    @rule(data=st.data(), subnet=st.sampled_from(SUBNETS), want_gateway=st.booleans())
    def choose(self, data: st.DataObject, subnet: IPNetwork, want_gateway: bool) -> None:
        request = PoolRequest(
            family=4 if subnet.version == 4 else 6,
            subnet=subnet,
            gateway=data.draw(st.none() | inside(subnet), "gateway"),
            auxiliary=data.draw(st.dictionaries(st.sampled_from("ab"), inside(subnet)), "auxiliary"),
            ip_range=data.draw(st.none() | st.sampled_from([n for n in SUBNETS if _within(n, subnet)]), "range"),
            want_gateway=want_gateway,
        )
        overlapping = [p for p in self.pools.values() if _overlap(p.subnet, subnet)]
        try:
            pool = self.ipam.request_pool(request)
        except PoolOverlap:
            assert overlapping
        except IpamError:
            assert not overlapping  # the address is at fault
        else:
            assert not overlapping
            assert (pool.gateway is not None) == (want_gateway or request.gateway is not None)
            self._keep(pool)

    @precondition(lambda self: self.pools)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        pool_id = data.draw(st.sampled_from(sorted(self.pools)))
        available = self.ipam.usage(pool_id).available
        try:
            got = self.ipam.request_address(pool_id)
        except PoolExhausted:
            assert available == 0
        else:
            assert available > 0
            assert got.network == self.pools[pool_id].subnet
            assert str(got.ip) in self.dynamic[pool_id]
            assert got.ip not in self.owned[pool_id]
            self.owned[pool_id].add(got.ip)

    @precondition(lambda self: self.pools)
    @rule(data=st.data())
    def reserve(self, data: st.DataObject) -> None:
        pool_id = data.draw(st.sampled_from(sorted(self.pools)))
        address = data.draw(inside(data.draw(st.sampled_from(SUBNETS))))
        try:
            got = self.ipam.request_address(pool_id, address)
        except AddressTaken:
            assert address in self.owned[pool_id]
        except AddressOutside:
            assert str(address) not in hosts(self.pools[pool_id].subnet)
        else:
            assert got.ip == address
            assert str(address) in hosts(self.pools[pool_id].subnet)
            assert address not in self.owned[pool_id]
            self.owned[pool_id].add(address)

    @precondition(lambda self: any(self.owned.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        pool_id = data.draw(st.sampled_from(sorted(p for p, owned in self.owned.items() if owned)))
        address = data.draw(st.sampled_from(sorted(self.owned[pool_id])))
        self.ipam.release_address(pool_id, address)
        self.ipam.release_address(pool_id, address)
        if address not in self.fixed[pool_id]:
            self.owned[pool_id].remove(address)

    @precondition(lambda self: self.pools)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        pool_id = data.draw(st.sampled_from(sorted(self.pools)))
        self.ipam.release_pool(pool_id)
        self.ipam.release_pool(pool_id)
        for kept in (self.pools, self.owned, self.fixed, self.dynamic):
            del kept[pool_id]  # type: ignore[attr-defined]

    @precondition(lambda self: self.pools)
    @rule()
    def replay(self) -> None:
        """What the engine does at start gives the very same pools and addresses."""
        self.ipam = DefaultIpam(*DEFAULTS)
        for pool in self.pools.values():
            again = self.ipam.request_pool(
                PoolRequest(
                    family=4 if pool.subnet.version == 4 else 6,
                    subnet=pool.subnet,
                    ip_range=pool.ip_range,
                    gateway=pool.gateway,
                    auxiliary=pool.auxiliary,
                    want_gateway=pool.gateway is not None,
                )
            )
            assert again == pool
            for address in self.owned[pool.id] - self.fixed[pool.id]:
                self.ipam.request_address(pool.id, address)

    @invariant()
    def counts_agree(self) -> None:
        for pool_id, owned in self.owned.items():
            usage = self.ipam.usage(pool_id)
            dynamic = self.dynamic[pool_id]
            assert usage.in_use == len(owned)
            # IPSet's len() gives up above 2**63.
            assert usage.available == dynamic.size - sum(str(a) in dynamic for a in owned)

    @invariant()
    def pools_are_disjoint(self) -> None:
        subnets = [pool.subnet for pool in self.pools.values()]
        assert not any(_overlap(a, b) for i, a in enumerate(subnets) for b in subnets[:i])


def _overlap(a: IPNetwork, b: IPNetwork) -> bool:
    return a.version == b.version and a.overlaps(b)  # type: ignore[arg-type]


def _within(a: IPNetwork, b: IPNetwork) -> bool:
    return a.version == b.version and a.subnet_of(b)  # type: ignore[arg-type]


Ipam.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestIpam = Ipam.TestCase


class FreedLast(RuleBasedStateMachine):
    """The order in which addresses come: never-used first, then the one that is free longest."""

    @initialize(size=st.integers(0, 12))
    def begin(self, size: int) -> None:
        self.addresses = Addresses(100, 100 + size - 1)
        self.size = size
        self.used: set[int] = set()
        self.freed: list[int] = []

    @rule()
    def take(self) -> None:
        got = self.addresses.take()
        fresh = [a for a in range(100, 100 + self.size) if a not in self.used and a not in self.freed]
        assert got == (fresh[0] if fresh else self.freed[0] if self.freed else None)
        if got is not None:
            self.used.add(got)
            if not fresh:
                self.freed.pop(0)

    @rule(address=st.integers(98, 112))
    def reserve(self, address: int) -> None:
        assert self.addresses.reserve(address) == (address not in self.used)
        self.used.add(address)
        if address in self.freed:
            self.freed.remove(address)

    @rule(address=st.integers(98, 112))
    def release(self, address: int) -> None:
        assert self.addresses.release(address) == (address in self.used)
        if address in self.used and 100 <= address < 100 + self.size:
            self.freed.append(address)
        self.used.discard(address)


FreedLast.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestFreedLast = FreedLast.TestCase


@given(st.lists(st.sampled_from(range(12)), max_size=60), st.integers(1, 3))
def test_forgetting_what_was_freed_loses_no_address(churn: list[int], remembered: int) -> None:
    """However little is remembered, all that was given back can be had again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ipam.addresses.REMEMBERED", remembered)
        addresses = Addresses(0, 11)
        for address in churn:
            if address in addresses:
                addresses.release(address)
            else:
                addresses.take()
        free = addresses.available
        got = [addresses.take() for _ in range(free)]

        assert None not in got
        assert len(set(got)) == free
        assert addresses.take() is None


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=12),
    st.integers(26, 32),
)
def test_a_carved_subnet_avoids_whatever_is_taken(prefixes: list[tuple[int, int]], size: int) -> None:
    """It is the lowest free one, by netaddr's reckoning."""
    taken = [
        Taken(prefix=IPv4Network((int(IPv4Network("10.0.0.0/24")[low]), length), strict=False), by="a route")
        for low, length in prefixes
    ]
    ipam = DefaultIpam([DefaultPool(IPv4Network("10.0.0.0/24"), 28)])
    free = netaddr.IPSet(["10.0.0.0/24"]) - netaddr.IPSet([str(t.prefix) for t in taken])
    fitting = [cidr for cidr in free.iter_cidrs() if cidr.prefixlen <= size]

    if fitting:
        pool = ipam.request_pool(PoolRequest(family=4, size=size, want_gateway=False), taken)
        assert pool.subnet.prefixlen == size
        assert pool.subnet.network_address == ip_address(int(min(fitting).first))
    else:
        with pytest.raises(NoFreeSubnet):
            ipam.request_pool(PoolRequest(family=4, size=size, want_gateway=False), taken)
