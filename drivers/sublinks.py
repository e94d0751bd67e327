"""What macvlan and ipvlan have in common: every endpoint is a sub-link of one parent on the host.

Addresses, routes and the final name are the sandbox's business. Packets of these networks never
pass the host's own stack, so there is nothing to publish and no firewall of ours.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from drivers.api import Attachment, Endpoint, IPAddress, Network, Route, Traits
from drivers.errors import DriverError, MissingLinkKind
from drivers.kernel.errors import KernelError
from drivers.kernel.link import Link, delete_link, set_alias
from drivers.kernel.netlink import Netlink
from drivers.kernel.sublink import knows_kind
from drivers.kernel.wire import Request
from drivers.parents import Parents, sink_name

PARENT = "parent"
MTU = "com.docker.network.driver.mtu"
INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"


class Options(Protocol):
    """What is common to the options of both.

    Args:
        parent: "" makes the network an internal one, on a parent that leads nowhere.
        mtu: In bytes; 0 is the parent's.
    """

    @property
    def parent(self) -> str: ...
    @property
    def mtu(self) -> int: ...
    @property
    def interface_prefix(self) -> str: ...


O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sub-link is to be."""

    name: str
    parent: int
    netns_fd: int


class SubLinks(ABC, Generic[O]):
    """The six verbs, for links of one kind."""

    name: str
    scope: Literal["local", "global"] = "local"
    wants_pools = True
    _option: str  # of the kernel's configuration

    def __init__(self, host: Netlink, root_id: str) -> None:
        self._host = host
        self._root_id = root_id
        self._parents = Parents(host, root_id)

    @abstractmethod
    def parse(self, options: Mapping[str, str]) -> O: ...

    @abstractmethod
    def traits(self, options: O, internal: bool) -> Traits: ...

    @abstractmethod
    def _request(self, options: O, endpoint: Endpoint, place: Place) -> Request:
        """Make the sub-link."""

    # --- networks -----------------------------------------------------------------------------

    def create_network(self, network: Network[O]) -> None:
        """The parent link is the segment; make it where it is missing."""
        if not knows_kind(self._host, self.name):
            raise MissingLinkKind(self.name, self._option)
        self._parents.ensure(network.id, network.options.parent)

    def delete_network(self, network: Network[O]) -> None:
        self._parents.remove(network.id, network.options.parent)

    # --- endpoints ----------------------------------------------------------------------------

    def create_endpoint(self, network: Network[O], endpoint: Endpoint) -> None:
        """Nothing to reserve: the sub-link is made when the endpoint joins."""

    def delete_endpoint(self, network: Network[O], endpoint: Endpoint) -> None:
        """Nothing to give back."""

    def join(self, network: Network[O], endpoint: Endpoint, netns: Path) -> Attachment:
        with Netlink(netns) as inside:
            # An interrupted join may have left it there.
            link = self._find(inside, endpoint)
            if link is None:
                link = self._make(network, endpoint, netns, inside)
        return self._attachment(network, endpoint, link.name)

    def leave(self, network: Network[O], endpoint: Endpoint) -> None:
        """Nothing is left on the host."""

    def withdraw(self, network: Network[O], endpoint: Endpoint, netns: Path) -> None:
        """Delete the link, or it would go on answering for a container that has ended."""
        with Netlink(netns) as inside:
            link = self._find(inside, endpoint)
            if link is not None:
                inside.apply([delete_link(link.index)])

    def adopt(self, network: Network[O], endpoint: Endpoint, netns: Path) -> Attachment:
        return self._attachment(network, endpoint, link_name(endpoint))

    def _make(self, network: Network[O], endpoint: Endpoint, netns: Path, inside: Netlink) -> Link:
        name = link_name(endpoint)
        with ExitStack() as undo:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, descriptor)
            place = Place(name=name, parent=self._host.index(parent_name(network)), netns_fd=descriptor)
            try:
                # Made where it belongs: moving it later would cost grace periods.
                self._host.apply([self._request(network.options, endpoint, place)])
            except KernelError as error:
                if error.errno in (errno.EBUSY, errno.EINVAL):
                    raise self._refused(network, error) from error
                raise
            inside.apply([set_alias(name, self._tag(endpoint))])
        link = inside.link(name)
        assert link is not None
        return link

    def _refused(self, network: Network[O], error: KernelError) -> DriverError:
        """The kernel gives no reason of its own when the parent has another user."""
        hint = (
            f"its parent {parent_name(network)} may serve a bridge, another kind of links, or passthru, which is alone"
        )
        return DriverError(f"cannot attach to network {network.name}: {error}", kind="conflict", hint=hint)

    def _find(self, inside: Netlink, endpoint: Endpoint) -> Link | None:
        tag = self._tag(endpoint)
        return next((one for one in inside.links() if one.alias == tag or one.name == link_name(endpoint)), None)

    def _attachment(self, network: Network[O], endpoint: Endpoint, link: str) -> Attachment:
        outside = not network.internal and bool(network.options.parent)
        return Attachment(
            link=link,
            gateways=self._gateways(network, endpoint) if outside else (),
            routes=self._routes(network, endpoint) if outside else (),
            mtu=network.options.mtu,
            interface_prefix=network.options.interface_prefix,
            leads_outside=outside,
        )

    def _gateways(self, network: Network[O], endpoint: Endpoint) -> tuple[IPAddress, ...]:
        families = {address.version for address in endpoint.addresses}
        ways = [pool.way_out or pool.gateway for pool in network.pools if pool.subnet.version in families]
        return tuple(way for way in ways if way is not None)

    def _routes(self, network: Network[O], endpoint: Endpoint) -> tuple[Route, ...]:
        return ()

    def _tag(self, endpoint: Endpoint) -> str:
        return f"netmodel:{self._root_id}:endpoint:{endpoint.id}"


def link_name(endpoint: Endpoint) -> str:
    """The link's name until the sandbox gives it its own."""
    return f"nm{endpoint.id[:12]}"


def parent_name(network: Network[O]) -> str:
    return network.options.parent or sink_name(network.id)
