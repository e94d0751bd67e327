"""The driver contract: a network and its endpoints as values, and what a driver does with them.

A driver takes values and returns values. It keeps no store: all that it needs to undo its work is in
the values and in the kernel. Every verb may be repeated without harm, so that a crash half-way is
repaired by doing the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, _ProtocolMeta, runtime_checkable

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network
Protocol_ = Literal["tcp", "udp", "sctp"]

O = TypeVar("O")  # noqa: E741 - the driver's own options


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One subnet of a network and the gateway's address in it.

    Args:
        gateway: The host's own, where the driver has the host on the network.
        way_out: Another machine of the network that endpoints send to what leaves it; None is the gateway.
    """

    subnet: IPNetwork
    gateway: IPAddress | None = None
    way_out: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Generic[O]):
    """A segment, as its driver sees it.

    Args:
        id: 64 hexadecimal digits.
        options: What the driver's parse() returned.
        internal: Nothing outside the network is reachable from it, nor it from outside.
    """

    id: str
    name: str
    options: O
    pools: tuple[Pool, ...] = ()
    internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """One published port of an endpoint.

    Args:
        host_address: None is every address of the host, of both families.
        host_port: 0 lets the driver choose one.
        host_port_end: Last port to choose from, with host_port the first; 0 is host_port alone.
    """

    protocol: Protocol_
    container_port: int
    host_address: IPAddress | None = None
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One attachment to a network.

    Args:
        id: 64 hexadecimal digits.
        mac: Six colon-separated pairs, lower case.
        addresses: At most one of each family, each with its subnet's prefix length.
        options: Endpoint options by their Docker keys.
    """

    id: str
    mac: str
    addresses: tuple[IPInterface, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def ipv4(self) -> IPv4Interface | None:
        return next((a for a in self.addresses if isinstance(a, IPv4Interface)), None)

    @property
    def ipv6(self) -> IPv6Interface | None:
        return next((a for a in self.addresses if isinstance(a, IPv6Interface)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route of the sandbox. Without via it is on the link itself."""

    destination: IPNetwork
    via: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What join() put into the namespace.

    Args:
        link: The link's present name there; the sandbox gives it its final one.
        gateways: At most one of each family; the sandbox decides whether they become default routes.
        routes: Further routes that belong to this link.
        mtu: In bytes; 0 leaves the link's own.
        interface_prefix: What the sandbox puts before a number when it names the link itself.
        leads_outside: Whether anything beyond the segment may be reached by it; name servers of the world, too.
    """

    link: str
    gateways: tuple[IPAddress, ...] = ()
    routes: tuple[Route, ...] = ()
    mtu: int = 0
    interface_prefix: str = "eth"
    leads_outside: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A port of one endpoint, and the address of another one that shall reach it."""

    source: IPAddress
    target: IPAddress
    protocol: Protocol_
    port: int


class Driver(Protocol):
    """Six verbs. Each raises DriverError (drivers.errors) or KernelError (drivers.kernel.errors)."""

    name: str
    scope: Literal["local", "global"]
    wants_pools: bool  # False: the network has no addresses of its own (host, null)

    def parse(self, options: Mapping[str, str]) -> Any:
        """Turn a network's options into the driver's own value.

        Raises:
            InvalidOption: Unknown, or its value does not fit; says which and why.
        """

    def create_network(self, network: Network[Any]) -> None:
        """Make what the segment needs on the host."""

    def delete_network(self, network: Network[Any]) -> None:
        """Remove it; what is gone already is no error."""

    def create_endpoint(self, network: Network[Any], endpoint: Endpoint) -> None:
        """Reserve what the endpoint needs on the host before any sandbox exists."""

    def delete_endpoint(self, network: Network[Any], endpoint: Endpoint) -> None:
        """Give it back; what is gone already is no error."""

    def join(self, network: Network[Any], endpoint: Endpoint, netns: Path) -> Attachment | None:
        """Put a link into the namespace; None where the driver has none to give (null)."""

    def leave(self, network: Network[Any], endpoint: Endpoint) -> None:
        """Take the link out of service; the namespace may be gone already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How a network differs from most, known before anything of it is made.

    Args:
        gateway: False: no address is kept for a gateway.
        on_host: False: the host has no address on it, so its subnet may be one that the host knows from elsewhere.
        claim: The link of the host that the network needs for itself; "" is none.
        own_macs: False: its endpoints cannot have a MAC address of their own.
    """

    gateway: bool = True
    on_host: bool = True
    claim: str = ""
    own_macs: bool = True


_powers: dict[tuple[type, type], bool] = {}


class Power(_ProtocolMeta):
    """Answers whether a driver has a power once for each class of drivers.

    Until Python 3.12 isinstance() of a protocol walks through all its members: 30 us, several times a container.
    """

    def __instancecheck__(cls, instance: object) -> bool:  # noqa: N805 - of a class of classes
        key = cls, type(instance)
        found = _powers.get(key)
        if found is None:
            found = _powers[key] = super().__instancecheck__(instance)
        return found


@runtime_checkable
class Particular(Protocol, metaclass=Power):
    """A driver whose networks differ from most."""

    def traits(self, options: Any, internal: bool) -> Traits: ...


@runtime_checkable
class Inside(Protocol, metaclass=Power):
    """A driver whose links have no end of their own on the host by which they are taken out of service."""

    def withdraw(self, network: Network[Any], endpoint: Endpoint, netns: Path) -> None:
        """Take the link out of a namespace that stays; leave() follows. One that is gone is no error."""

    def adopt(self, network: Network[Any], endpoint: Endpoint, netns: Path) -> Attachment:
        """Know again a link that an earlier engine put there; what join() said of it, but for its name."""


@runtime_checkable
class Carries(Protocol, metaclass=Power):
    """A driver whose link carries frames only a moment after the sandbox has brought it up."""

    def wait_until_carried(self, network: Network[Any], endpoint: Endpoint) -> None:
        """Return when what the sandbox sends arrives on the segment.

        The sandbox calls it after it brought the link up and before it sends anything itself
        (announcements) or lets a process run: a lost first packet of TCP costs a second.
        """


@runtime_checkable
class Publishes(Protocol, metaclass=Power):
    """A driver that can publish ports of an endpoint on the host."""

    def publish(
        self, network: Network[Any], endpoint: Endpoint, ports: Sequence[PortBinding]
    ) -> tuple[PortBinding, ...]:
        """Publish them all in one transaction, or none, and say which host ports they got.

        Host port 0 in the answer: none leads there; the port is reached at the endpoint's own address.

        Raises:
            PortInUse: Names the port and, where it can be known, the process that holds it.
        """

    def unpublish(self, network: Network[Any], endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        """Withdraw what publish() returned and forget the connections that used it."""

    def publishes_to_host(self, network: Network[Any]) -> bool:
        """Whether ports are published though the network leads nowhere: the host itself reaches them."""

    def open_ports(self, network: Network[Any], endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        """Let ports be reached at the endpoint's own addresses, where the network is routed to; else do nothing.

        For endpoints that are not the sandbox's way out; publish() does it as well.
        """

    def shut_ports(self, network: Network[Any], endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        """Undo open_ports()."""


@runtime_checkable
class KeepsApart(Protocol, metaclass=Power):
    """A driver whose networks may keep their endpoints apart, and let one reach another all the same."""

    def keeps_apart(self, network: Network[Any]) -> bool:
        """Whether this one does."""

    def detour(self, network: Network[Any]) -> str:
        """The MAC address by which its endpoints must send to each other to be let through."""

    def allow(self, network: Network[Any], pairs: Sequence[Pair]) -> None:
        """Let these connections through, by the detour; those that are let through already stay so."""

    def forbid(self, network: Network[Any], pairs: Sequence[Pair]) -> None:
        """Undo allow(); what was never let through is no error."""


@runtime_checkable
class Bounded(Protocol, metaclass=Power):
    """A driver whose networks hold so many endpoints and no more."""

    max_endpoints: int


@runtime_checkable
class Advises(Protocol, metaclass=Power):
    """A driver that can tell what about a network works, but not as one would wish."""

    def advice(self, network: Network[Any]) -> Sequence[str]:
        """One sentence each."""


@runtime_checkable
class Specializes(Protocol, metaclass=Power):
    """A driver whose endpoints have options of their own, under these keys; create_endpoint() refuses values."""

    endpoint_options: frozenset[str]
