"""The contract between netmodel and an IPAM driver: values in, values out.

An IPAM driver keeps what it handed out in memory alone. The engine stores the
pool of every network and the addresses of every endpoint, and asks for exactly
those again when it starts; so there is one truth, and it cannot disagree with itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal, Protocol

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A prefix that is in use, and by what, in words that fit after "overlaps with"."""

    prefix: IPNetwork
    by: str  # "network backend", "the host's route via eth0"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What a network wants of one address family.

    Args:
        subnet: The subnet itself; None picks a free one from the default pools.
        size: Prefix length of an automatic subnet, in bits; None takes the default pool's own.
        ip_range: Where dynamic addresses come from; inside the subnet.
        gateway: The gateway's address; None takes the subnet's first free one.
        auxiliary: Addresses that are never handed out, by name.
        want_gateway: False hands out no gateway (a driver that has none).
        options: The driver's own, by key; one that it does not know is refused.
    """

    family: Literal[4, 6]
    subnet: IPNetwork | None = None
    size: int | None = None
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: Mapping[str, IPAddress] = field(default_factory=dict)
    want_gateway: bool = True
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A subnet that is ours until it is released."""

    id: str
    subnet: IPNetwork
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: Mapping[str, IPAddress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How full a pool is, in addresses.

    Args:
        in_use: That have an owner; the gateway and the auxiliary ones count.
        available: For dynamic use: free ones of the range.
        special: That nobody can own: the network's, the broadcast, the routers' anycast address.
    """

    in_use: int
    available: int
    special: int = 0


class IpamDriver(Protocol):
    """Hands out pools and addresses. Safe to call from several threads.

    Attributes:
        has_addresses: False: its networks have none that we know of, and neither have their endpoints.
    """

    name: str
    has_addresses: bool

    def request_pool(self, request: PoolRequest, taken: Iterable[Taken] = ()) -> Pool:
        """Reserve a subnet, its gateway and its auxiliary addresses, or nothing at all.

        Args:
            taken: What an automatic subnet avoids and a chosen one may not overlap, beside this
                driver's own pools.

        Raises:
            IpamError: The request contradicts itself, overlaps, or nothing is free.
        """

    def release_pool(self, pool_id: str) -> None:
        """Give a pool back, with every address in it; an unknown pool is no error."""

    def request_address(self, pool_id: str, address: IPAddress | None = None) -> IPInterface:
        """Reserve one address: this one, or the next free of the range.

        Raises:
            IpamError: It is taken or outside its pool, or the pool is full.
        """

    def release_address(self, pool_id: str, address: IPAddress) -> None:
        """Give an address back; one that is free already is no error."""

    def usage(self, pool_id: str) -> Usage:
        """Count what is used and what is left."""
