"""p2p: a bare veth pair between exactly two sandboxes, through which everything passes.

No bridge stands between the two, so no frame is kept back: LLDP, spanning tree, pause frames and
any other type arrive as they were sent. While only one of the two is in service, the other end of
its link waits on the host, down, so that the one sees a cable with nobody at its far end. Whoever
comes next takes that end, and the first one's link stays what it was.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drivers import options as read
from drivers.api import Attachment, Endpoint, Network, Traits
from drivers.errors import DriverError, LinkTaken, NetworkFull
from drivers.kernel.errors import KernelError
from drivers.kernel.link import Link, add_veth, rename, set_alias, set_down
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from drivers.kernel.sublink import move_link

CABLE = "cable"  # the kind in the tag of both ends; the id is the network's
_MTU = "com.docker.network.driver.mtu"
_INTERFACE_PREFIX = "com.docker.network.container_iface_prefix"
KNOWN = (_MTU, _INTERFACE_PREFIX)
_CARRIER_S = 0.5  # no error when it passes: the other may have set its end down


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a link may be asked for; an MTU of 0 is the kernel's."""

    mtu: int = 0
    interface_prefix: str = "eth"


class P2p:
    """The driver of point-to-point links; safe to use from several threads.

    Made in the host's namespace, which is where ends wait.
    """

    name: str = "p2p"
    scope: Literal["local", "global"] = "local"
    wants_pools = True
    max_endpoints = 2

    def __init__(self, host: Netlink, reaper: Reaper, root_id: str) -> None:
        self._host = host
        self._reaper = reaper
        self._root_id = root_id
        self._host_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # Two that come or go at once must not both take the same end.
        self._lock = threading.Lock()
        self._in_service: dict[str, dict[str, Path]] = {}  # by network and endpoint: its namespace

    def close(self) -> None:
        os.close(self._host_fd)

    def parse(self, options: Mapping[str, str]) -> Options:
        read.refuse_unknown(self.name, options, KNOWN)
        return Options(
            mtu=read.number(options, _MTU, 0, 68, 65535),
            interface_prefix=read.link_name(options, _INTERFACE_PREFIX, "eth", limit=10),
        )

    def traits(self, options: Options, internal: bool) -> Traits:
        return Traits(gateway=False, on_host=False)

    # --- networks -----------------------------------------------------------------------------

    def create_network(self, network: Network[Options]) -> None:
        """Nothing to build: the pair is made when the first endpoint joins."""
        if any(pool.gateway is not None for pool in network.pools):
            raise DriverError(
                f"network {network.name} is a link between two containers and has no gateway",
                kind="invalid",
                hint="leave the gateway out; where one end leads on, routes of the other say so",
            )

    def delete_network(self, network: Network[Options]) -> None:
        if self._waiting(network) is not None:
            self._reaper.retire([waiting_name(network)])
        with self._lock:
            self._in_service.pop(network.id, None)

    # --- endpoints ----------------------------------------------------------------------------

    def create_endpoint(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Nothing to reserve."""

    def delete_endpoint(self, network: Network[Options], endpoint: Endpoint) -> None:
        self.leave(network, endpoint)

    def join(self, network: Network[Options], endpoint: Endpoint, netns: Path) -> Attachment:
        with self._lock, Netlink(netns) as inside:
            if len(self._in_service.get(network.id, {}).keys() - {endpoint.id}) >= self.max_endpoints:
                raise NetworkFull(network.name, self.max_endpoints)
            # An interrupted join may have left it there.
            link = self._end_in(inside, network, end_name(endpoint))
            name = link.name if link is not None else self._bring(network, endpoint, netns, inside)
            self._in_service.setdefault(network.id, {})[endpoint.id] = netns
        return _attachment(network, name)

    def wait_until_carried(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Return when both ends let packets through; at once while the far one waits for its container.

        The end that was up before begins to send only when the kernel's link watch, a work queue, has
        seen that it has a carrier now: until then it drops its answers.
        """
        if len(namespaces := self._in_service.get(network.id, {}).copy()) < 2:
            return
        deadline = time.monotonic() + _CARRIER_S
        for netns in namespaces.values():
            with suppress(KernelError), Netlink(netns) as inside:  # it is just leaving
                while (link := self._end_in(inside, network)) and not link.running and time.monotonic() < deadline:
                    time.sleep(0.001)

    def leave(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Its end is the host's again, or gone together with its namespace."""
        with self._lock:
            self._in_service.get(network.id, {}).pop(endpoint.id, None)

    def withdraw(self, network: Network[Options], endpoint: Endpoint, netns: Path) -> None:
        """Leave the far end its link, without a carrier; when that one waits, the pair serves nobody and goes."""
        with self._lock, Netlink(netns) as inside:
            link = self._end_in(inside, network, end_name(endpoint))
            if link is None:
                return
            if self._waiting(network) is None:
                inside.apply([move_link(link.index, waiting_name(network), self._host_fd)])
                return
            # Untagged, so that the next join does not take an end that only waits for the reaper.
            inside.attempt([set_alias(link.index, ""), set_down(link.index), rename(link.index, f"gone{link.index}")])
            self._reaper.retire([waiting_name(network)])

    def adopt(self, network: Network[Options], endpoint: Endpoint, netns: Path) -> Attachment:
        with self._lock:
            self._in_service.setdefault(network.id, {})[endpoint.id] = netns
        return _attachment(network, end_name(endpoint))

    def _bring(self, network: Network[Options], endpoint: Endpoint, netns: Path, inside: Netlink) -> str:
        """Put an end into the namespace: the one that waits, or the first of a new pair."""
        name = end_name(endpoint)
        waiting = self._waiting(network)
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(error.errno or errno.ENOENT, f"open the network namespace {netns}") from error
        try:
            if waiting is None:
                self._make(network, endpoint, descriptor)
                inside.apply(
                    [set_alias(name, self._tag(network))]
                )  # the alias of a veth's peer is no part of its making
            else:
                self._host.apply([move_link(waiting.index, name, descriptor, endpoint.mac)])
        finally:
            os.close(descriptor)
        return name

    def _make(self, network: Network[Options], endpoint: Endpoint, netns_fd: int) -> None:
        far, tag = waiting_name(network), self._tag(network)
        pair = add_veth(far, end_name(endpoint), netns_fd, endpoint.mac, network.options.mtu)
        # One datagram: nothing can stop us between making the link and tagging it as ours.
        self._host.apply([pair, set_alias(far, tag)])

    def _waiting(self, network: Network[Options]) -> Link | None:
        """The end that waits on the host."""
        link = self._host.link(waiting_name(network))
        if link is not None and link.alias != self._tag(network):
            raise LinkTaken(link.name, "not ours", "remove it, or create the network again")
        return link

    def _end_in(self, inside: Netlink, network: Network[Options], untagged: str = "") -> Link | None:
        """The end in a sandbox; untagged is its name there for as long as it may not have its tag yet."""
        tag = self._tag(network)
        return next((link for link in inside.links() if link.alias == tag or link.name == untagged), None)

    def _tag(self, network: Network[Options]) -> str:
        return f"netmodel:{self._root_id}:{CABLE}:{network.id}"


def waiting_name(network: Network[Options]) -> str:
    """Of an end on the host."""
    return f"nm{network.id[:12]}"


def end_name(endpoint: Endpoint) -> str:
    """Of an end in a sandbox, until that gives it its own."""
    return f"nm{endpoint.id[:12]}"


def _attachment(network: Network[Options], link: str) -> Attachment:
    return Attachment(
        link=link,
        mtu=network.options.mtu,
        interface_prefix=network.options.interface_prefix,
        leads_outside=False,
    )
