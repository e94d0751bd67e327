"""The port of a bridge that an endpoint is: a veth pair whose other end is in the sandbox."""

from __future__ import annotations

import errno
import os
import time
from functools import cached_property
from pathlib import Path

from drivers import endpoint_options
from drivers.api import Endpoint, Network
from drivers.bridge_options import Options
from drivers.errors import DriverError, LinkTaken, MissingBridgeFeature, NetworkFull
from drivers.kernel.bridge import add_station, is_forwarding, locks_ports, port_settings, set_port
from drivers.kernel.bridge_vlan import put_into
from drivers.kernel.errors import KernelError
from drivers.kernel.link import (
    Link,
    add_veth,
    alias,
    change,
    delete_link,
    get_link,
    set_master,
    set_up,
    without_link_local,
)
from drivers.kernel.namespace import new_namespace
from drivers.kernel.netlink import Netlink
from drivers.kernel.offload import compute_checksums
from drivers.kernel.reaper import Reaper
from drivers.kernel.sysctl import read_sysctl
from drivers.kernel.wire import Request
from drivers.shaping import shape

# Not an error when it passes: the peer may be down for reasons of its own.
_CARRIER_S = 0.5
_SPANNING_TREE_S = 5.0


class BridgePorts:
    """Plugs endpoints into bridges and pulls them out, for any number of networks.

    Args:
        host: Opened in the host's namespace.
        root_id: In the tag of every link we make.
    """

    def __init__(self, host: Netlink, reaper: Reaper, root_id: str) -> None:
        self._host = host
        self._reaper = reaper
        self._root_id = root_id
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()

    def check(self, options: Options) -> None:
        """Refuse what the kernel's bridges cannot do, before there is any port.

        Raises:
            MissingBridgeFeature.
        """
        if options.mac_check and not self._locks_ports:
            raise MissingBridgeFeature("cannot hold a port to one MAC address", "the setting `locked` of bridge ports")

    @cached_property
    def _locks_ports(self) -> bool:
        descriptor = new_namespace()
        try:
            with Netlink(Path(f"/proc/self/fd/{descriptor}")) as netlink:
                return locks_ports(netlink)
        finally:
            os.close(descriptor)

    def plug_in(self, network: Network[Options], endpoint: Endpoint, bridge: Link, netns: Path) -> str:
        """Make the veth pair and all that belongs to it; says what the end in the namespace is called."""
        link = veth_name(endpoint)
        self._remove_half_made(endpoint, link)
        for other in _own_links(endpoint):
            self._remove_half_made(endpoint, other)
        try:
            self._make(network, endpoint, link, bridge, netns)
        except KernelError as error:
            if error.errno == errno.EXFULL:  # net/bridge/br_if.c, find_portno()
                raise NetworkFull(network.name) from error
            raise
        if not network.options.tx_checksum:
            self._compute_checksums(link, netns)
        self._shape(endpoint, bridge)
        return link

    def plug_back(self, network: Network[Options], endpoint: Endpoint, bridge: Link, *, published: bool) -> None:
        """Make a link that has lost its bridge a port again: the end in the namespace has stayed as it was."""
        link, options = veth_name(endpoint), network.options
        settings = port_settings(isolated=not options.icc, locked=options.mac_check or None)
        port = change(link, f"set up bridge port {link}", [settings])
        self._host.apply([set_master(link, bridge.index), port, *_admit(options, endpoint, self._host.index(link))])
        if published:
            self.turn_around(endpoint)

    def pull_out(self, endpoint: Endpoint) -> None:
        """Take all links of the endpoint out of service; what is gone already is no error."""
        self._reaper.retire([veth_name(endpoint), *_own_links(endpoint)])

    def forget(self, endpoint: Endpoint) -> None:
        """Take what has no end in the sandbox out of service: the rest goes with the sandbox."""
        self._reaper.retire(_own_links(endpoint))

    def wait_until_carried(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Return when the bridge forwards what the endpoint sends.

        Its port waits until the kernel's link watch, a work queue behind the lock that all changes
        of the network need, has noticed that the peer is up: one first packet in twelve was lost.
        Asking for the link makes recent kernels look at once.
        """
        # Source: Linux net/core/rtnetlink.c, rtnl_getlink(): linkwatch_sync_dev().
        deadline = time.monotonic() + _CARRIER_S
        while time.monotonic() < deadline:
            link = self._host.link(veth_name(endpoint))
            if link is None or link.running:
                break
            time.sleep(0.001)
        if network.options.stp:
            self._wait_for_spanning_tree(endpoint)

    def turn_around(self, endpoint: Endpoint) -> None:
        """Let a container reach itself through a published port.

        Where br_netfilter shows bridged packets to the firewall, the translated packet never leaves
        the bridge, so it must go out by the port it came in. Elsewhere it is routed, and the bridge's
        setting stays off: it would also return the container's own broadcasts to it.
        """
        if read_sysctl("net/bridge/bridge-nf-call-iptables") == "1" and self._host.link(veth_name(endpoint)):
            self._host.apply([set_port(veth_name(endpoint), hairpin=True)])

    def _make(self, network: Network[Options], endpoint: Endpoint, link: str, bridge: Link, netns: Path) -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(error.errno or errno.ENOENT, f"open the network namespace {netns}") from error
        options = network.options
        late = bool(_admit(options, endpoint, 0))
        locked = options.mac_check or None
        settings = [alias(self._tag(endpoint)), port_settings(isolated=not options.icc, locked=locked)]
        if self._ipv6:
            settings.append(without_link_local())
        # One datagram: nothing can stop us between making the link and tagging it as ours.
        refusals = self._host.attempt(
            [
                add_veth(link, link, descriptor, endpoint.mac, bridge.mtu, master=bridge.index),
                change(link, f"set up bridge port {link}", settings),
            ]
            + ([] if late else [set_up(link)])
        )
        os.close(descriptor)
        if late and not refusals:
            # Before anything passes.
            refusals = self._host.attempt([*_admit(options, endpoint, self._host.index(link)), set_up(link)])
        if not refusals:
            return
        if refusals[0].errno != errno.EEXIST:
            self._reaper.retire([link])
        raise refusals[0]

    def _compute_checksums(self, link: str, netns: Path) -> None:
        try:
            compute_checksums(link)
            compute_checksums(link, netns)
        except KernelError:
            self._reaper.retire([link])
            raise

    def _shape(self, endpoint: Endpoint, bridge: Link) -> None:
        options = endpoint_options.parse(endpoint.options)
        if options.ingress is None and options.egress is None:
            return
        try:
            shape(self._host, veth_name(endpoint), _ifb_name(endpoint), self._tag(endpoint), options, bridge.mtu)
        except (KernelError, DriverError):
            self.pull_out(endpoint)
            raise

    def _remove_half_made(self, endpoint: Endpoint, name: str) -> None:
        """A link that an interrupted join left, with its peer in the namespace, must go before we repeat."""
        link = self._host.link(name)
        if link is None:
            return
        if link.alias != self._tag(endpoint):
            raise LinkTaken(name, "not ours", "remove it, or create the endpoint again")
        self._host.apply([delete_link(link.index)])

    def _wait_for_spanning_tree(self, endpoint: Endpoint) -> None:
        """Listening and learning take two seconds each; a port that would close a loop never forwards."""
        deadline = time.monotonic() + _SPANNING_TREE_S
        while time.monotonic() < deadline:
            if self._host.get(get_link(veth_name(endpoint)), is_forwarding) != [False]:
                return
            time.sleep(0.02)

    def _tag(self, endpoint: Endpoint) -> str:
        return f"netmodel:{self._root_id}:endpoint:{endpoint.id}"


def _admit(options: Options, endpoint: Endpoint, port: int) -> list[Request]:
    """What can be asked for by the port's number alone: its VLAN, and the one MAC address that it is held to."""
    # A bridge that is this network alone puts new ports into its VLAN by itself.
    vlan = options.vlan if options.name or options.vlan_trunk else 0
    requests = put_into(port, vlan, options.vlan_trunk) if vlan else []
    return [*requests, *([add_station(port, endpoint.mac)] if options.mac_check else [])]


def veth_name(endpoint: Endpoint) -> str:
    return f"nm{endpoint.id[:12]}"


def _ifb_name(endpoint: Endpoint) -> str:
    return f"ni{endpoint.id[:12]}"


def _own_links(endpoint: Endpoint) -> list[str]:
    """The links that are of an endpoint, but have no end in its namespace."""
    return [_ifb_name(endpoint)] if endpoint_options.EGRESS_RATE in endpoint.options else []
