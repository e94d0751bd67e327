"""Which subnets have an owner, and which one comes next out of the default pools; in plain integers."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network

from ipam.api import IPNetwork

Span = tuple[int, int]  # first and last address


@dataclass(frozen=True, slots=True)
class DefaultPool:
    """A large prefix that automatic subnets are carved from.

    Args:
        base: The whole of it.
        size: Prefix length of one subnet, in bits, unless a request says otherwise.
    """

    base: IPNetwork
    size: int

    def __post_init__(self) -> None:
        if not self.base.prefixlen <= self.size <= self.base.max_prefixlen:
            raise ValueError(f"no subnet of size /{self.size} fits into {self.base}")

    def __str__(self) -> str:
        return str(self.base)


# Docker's own ranges in Docker's order, so that nobody who has planned around Docker meets a prefix
# he did not expect; but carved small. A /22 has 1,021 addresses for containers, about as many as a
# bridge has ports (1,023: Linux net/bridge/br_private.h, BR_MAX_PORTS), so a network never runs out
# of one before the other. That makes 1,024 networks; the last pool adds 65,536 of size /24.
DEFAULT_V4 = (
    DefaultPool(IPv4Network("172.17.0.0/16"), 22),
    DefaultPool(IPv4Network("172.18.0.0/15"), 22),
    DefaultPool(IPv4Network("172.20.0.0/14"), 22),
    DefaultPool(IPv4Network("172.24.0.0/13"), 22),
    DefaultPool(IPv4Network("192.168.0.0/16"), 22),
    DefaultPool(IPv4Network("10.0.0.0/8"), 24),
)


def ula_pool(seed: str) -> DefaultPool:
    """Make a host's own pool of 65,536 IPv6 /64s from something that only this host has.

    Two hosts with different seeds can be routed to one another later without renumbering.

    Source: RFC 4193 section 3.2.2: fd00::/8 and a pseudo-random global id of 40 bits.
    """
    global_id = int.from_bytes(sha256(seed.encode()).digest()[:5], "big")
    return DefaultPool(IPv6Network((0xFD << 120 | global_id << 80, 48)), 64)


def span(prefix: IPNetwork) -> Span:
    first = int(prefix.network_address)
    return first, first | ((1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1)


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Say whether they share an address; those of different families never do."""
    (first, last), (other_first, other_last) = span(one), span(other)
    return one.version == other.version and first <= other_last and other_first <= last


class Subnets:
    """The owned subnets of one family; they never overlap, so sorted they are disjoint."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def add(self, subnet: IPNetwork) -> None:
        insort(self._spans, span(subnet))

    def remove(self, subnet: IPNetwork) -> None:
        wanted = span(subnet)
        index = bisect_left(self._spans, wanted)
        if self._spans[index : index + 1] == [wanted]:
            del self._spans[index]

    def overlapping(self, subnet: IPNetwork) -> Span | None:
        """Find an owned subnet that shares an address with this one."""
        first, last = span(subnet)
        index = bisect_left(self._spans, (first, first))
        for candidate in self._spans[max(0, index - 1) : index + 1]:
            if candidate[0] <= last and candidate[1] >= first:
                return candidate
        return None

    def carve(self, pools: Sequence[DefaultPool], size: int | None, taken: Iterable[Span]) -> IPNetwork | None:
        """Pick the lowest free subnet from the default pools, or None.

        Args:
            pools: Tried in order.
            size: Prefix length of the result, in bits; None takes each pool's own.
            taken: Any sizes, in any order; whatever overlaps one is not free.
        """
        busy = sorted([*self._spans, *taken])
        for pool in pools:
            wanted = pool.size if size is None else size
            if wanted >= pool.base.prefixlen:
                first = _lowest_free(span(pool.base), 1 << (pool.base.max_prefixlen - wanted), busy)
                if first is not None:
                    return IPv4Network((first, wanted)) if pool.base.version == 4 else IPv6Network((first, wanted))
        return None


def _lowest_free(pool: Span, length: int, busy: Sequence[Span]) -> int | None:
    """Find the lowest multiple of length in pool that no busy span (sorted) touches."""
    candidate, end = pool
    for first, last in busy:
        if first >= candidate + length:
            break  # the gap before this span is wide enough
        if last >= candidate:
            candidate = (last // length + 1) * length
    return candidate if candidate + length - 1 <= end else None
