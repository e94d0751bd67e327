"""bridge: every network is a Linux bridge on the host, every endpoint a veth pair plugged into it.

The gateway of a network is the bridge itself. What the firewall does with a network and its
published ports is told in firewall.nft; names, addresses and routes inside are the sandbox's business.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from ipaddress import ip_interface
from pathlib import Path
from typing import Literal

from drivers import endpoint_options
from drivers.api import Attachment, Endpoint, IPAddress, Network, Pair, Pool, PortBinding
from drivers.bridge_options import NAME, Options, check_modes, parse
from drivers.bridge_rules import bridge_name, is_for_host, openings, rules_of, with_default_address
from drivers.errors import BridgeGone, DriverError, LinkTaken, NetworkFull, NoServer
from drivers.exposure import HOST_ONLY, Exposure
from drivers.firewall import Element, Firewall, Linked, NetworkRules, Port
from drivers.kernel.address import IPInterface, add_address, delete_address, link_local
from drivers.kernel.bridge import add_bridge, is_forwarding, port_settings, set_port
from drivers.kernel.errors import KernelError
from drivers.kernel.link import (
    IFLA_ADDRESS,
    Link,
    add_veth,
    alias,
    change,
    delete_link,
    get_link,
    no_link_local,
    read_link,
    route_localnet,
    set_mtu,
    set_up,
    without_link_local,
)
from drivers.kernel.netlink import Netlink
from drivers.kernel.offload import compute_checksums
from drivers.kernel.reaper import Reaper
from drivers.kernel.sysctl import read_sysctl, write_sysctl
from drivers.kernel.wire import mac
from drivers.publishing import Publisher
from drivers.relayed import Relayed
from drivers.shaping import shape
from drivers.surroundings import Surroundings, find_way_out, look_around
from drivers.ways import ports_in, ways_of

# Marks a gateway's address as given by us (IFA_PROTO), so that one that an adopted bridge had
# before is kept when the network goes.
ORIGIN = 0x6E

# Not an error when it passes: the peer may be down for reasons of its own.
_CARRIER_S = 0.5
_SPANNING_TREE_S = 5.0

_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Bridge:
    """The driver of bridge networks; safe to use from several threads, a network at a time.

    Args:
        host: Opened in the host's namespace.
        root_id: Eight hexadecimal digits; in the tag of every link we make.
        direct_routing: Published ports are reached from everywhere at the containers' own addresses, too.
        may_forward: Let the host forward packets where it does not yet.
    """

    name: str = "bridge"
    scope: Literal["local", "global"] = "local"
    wants_pools = True
    # Source: Linux net/bridge/br_private.h, BR_MAX_PORTS; port 0 is none.
    max_endpoints = 1023
    endpoint_options = endpoint_options.KNOWN

    def __init__(
        self,
        host: Netlink,
        firewall: Firewall,
        reaper: Reaper,
        root_id: str,
        *,
        direct_routing: bool = False,
        may_forward: bool = True,
    ) -> None:
        self._host = host
        self._firewall = firewall
        self._nft = firewall.nft
        self._reaper = reaper
        self._root_id = root_id
        self._direct_routing = direct_routing
        self._may_forward = may_forward
        self._publisher = Publisher(firewall)
        self._forwarding_changed: list[str] = []
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()

    @property
    def forwarding_changed(self) -> tuple[str, ...]:
        """The host-wide settings that this engine turned on because a network needed them."""
        return tuple(self._forwarding_changed)

    def parse(self, options: Mapping[str, str]) -> Options:
        return parse(self.name, options)

    # --- networks -----------------------------------------------------------------------------

    def create_network(self, network: Network[Options]) -> None:
        check_modes(network.options, internal=network.internal)
        name = bridge_name(network)
        with ExitStack() as undo:
            link = self._host.link(name)
            if link is None:
                link = self._make_bridge(network, name, undo)
            elif link.alias != self._tag("bridge", network.id):
                self._check_adoptable(network, link)
            self._set_up_bridge(network, link)
            self._firewall.add_network(self._rules(network))
            undo.callback(self._firewall.remove_network, name)
            self._ensure_forwarding(network)
            undo.pop_all()

    def delete_network(self, network: Network[Options]) -> None:
        failures: list[Exception] = []
        name = bridge_name(network)
        for step in (partial(self._firewall.remove_network, name), partial(self._remove_bridge, network, name)):
            try:
                step()
            except (KernelError, DriverError) as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"network {network.name} is not wholly removed", failures)

    def _make_bridge(self, network: Network[Options], name: str, undo: ExitStack) -> Link:
        tag = change(name, f"tag link {name}", [alias(self._tag("bridge", network.id))])
        options = network.options
        bridge = add_bridge(
            name,
            _mac_of(network.id),
            options.mtu or self._mtu_outside(network),
            stp=options.stp,
            group_forward_mask=options.group_forward_mask,
        )
        # One datagram: nothing can stop us between making the link and tagging it as ours.
        self._host.apply([bridge, tag])
        undo.callback(self._reaper.retire, [name])
        # Before the link is up: an advertisement accepted in between would leave a route and an
        # address, and accept_ra=0 removes neither. Without IPv6 in the kernel there is no such setting.
        if read_sysctl(f"net/ipv6/conf/{name}/accept_ra") is not None:
            write_sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
        link = self._host.link(name)
        assert link is not None
        self._host.apply([no_link_local(link.index)])
        return link

    def _check_adoptable(self, network: Network[Options], link: Link) -> None:
        """A bridge that the user names is used as it is; anything else in our way is an error."""
        if link.alias.startswith("netmodel:"):
            raise LinkTaken(link.name, "the bridge of another network", f"give {NAME} another name")
        if not network.options.name:
            raise LinkTaken(link.name, "not ours", "remove it, or create the network again")
        if link.kind != "bridge":
            raise LinkTaken(link.name, f"no bridge but a {link.kind or 'network card'}", f"give {NAME} another name")
        if network.options.stp or network.options.group_forward_mask:
            raise LinkTaken(link.name, "set up by somebody else", "leave out the options of the bridge itself")

    def _set_up_bridge(self, network: Network[Options], link: Link) -> None:
        mtu = network.options.mtu
        requests = [set_mtu(link.index, mtu)] if mtu and mtu != link.mtu else []
        requests.append(route_localnet(link.index))
        requests += [add_address(link.index, gateway, origin=ORIGIN) for gateway in self._gateways(network, link)]
        requests.append(set_up(link.index))
        if not link.up and any(pool.subnet.version == 6 for pool in _met_by_host(network)):
            requests.append(add_address(link.index, link_local(link.mac)))
        self._host.apply(requests)

    def _gateways(self, network: Network[Options], link: Link) -> list[IPInterface]:
        """The gateways' addresses that the bridge lacks."""
        wanted = [
            ip_interface((pool.gateway, pool.subnet.prefixlen))
            for pool in _met_by_host(network)
            if pool.gateway is not None and not (pool.subnet.version == 4 and network.options.inhibit_ipv4)
        ]
        if not link.up:
            return wanted  # it has just been made
        has = {(one.interface.ip) for one in self._host.addresses() if one.link == link.index}
        return [gateway for gateway in wanted if gateway.ip not in has]

    def _remove_bridge(self, network: Network[Options], name: str) -> None:
        link = self._host.link(name)
        if link is None:
            return
        if link.alias == self._tag("bridge", network.id):
            self._reaper.retire([name])
        elif network.options.name:
            ours = [one for one in self._host.addresses() if one.link == link.index and one.origin == ORIGIN]
            self._host.apply([delete_address(link.index, one.interface) for one in ours])

    def _ensure_forwarding(self, network: Network[Options]) -> None:
        """Let the host forward packets: without it, nothing leaves a bridge and no published port works."""
        for family in sorted({pool.subnet.version for pool in network.pools}):
            setting = _FORWARDING[family]
            if self._may_forward and not network.internal and read_sysctl(setting) == "0":
                write_sysctl(setting, "1")
                self._forwarding_changed.append(setting.replace("/", "."))

    def advice(self, network: Network[Options]) -> list[str]:
        """What works, but not as one would wish."""
        return [*self._advice_on_forwarding(network), *self._advice_on_mtu(network)]

    def _advice_on_forwarding(self, network: Network[Options]) -> list[str]:
        if network.internal:
            return []
        settings = [_FORWARDING[pool.subnet.version] for pool in network.pools]
        off = [setting.replace("/", ".") for setting in settings if read_sysctl(setting) == "0"]
        return [f"network {network.name} leads nowhere and publishes nothing: {one} of this host is off" for one in off]

    def _advice_on_mtu(self, network: Network[Options]) -> list[str]:
        link = self._host.link(bridge_name(network))
        outside = self._mtu_outside(network)
        if link is None or not 0 < outside < link.mtu:
            return []
        sizes = f"an MTU of {link.mtu}, the way out of this host one of {outside}"
        return [f"network {network.name} has {sizes}: larger packets are fragmented on the way, or lost"]

    def _mtu_outside(self, network: Network[Options]) -> int:
        """The MTU of the way out of the host; 0 where there is none, or the network does not take it."""
        if network.internal:
            return 0
        ways = [find_way_out(self._host, pool.subnet.version) for pool in network.pools]
        return min((way.mtu for way in ways if way is not None), default=0)

    def segment(self, options: Options) -> str:
        """A bridge that somebody else has put a segment on; on one of ours are containers alone."""
        link = self._host.link(options.name) if options.name else None
        if link is None or link.alias.startswith("netmodel:"):
            missing = link is None and options.name
            why = f"there is no bridge {options.name}" if missing else "on a bridge of ours are containers alone"
            raise NoServer(why, f"name a bridge that a segment is on: -o {NAME}=LINK")
        return options.name

    # --- endpoints ----------------------------------------------------------------------------

    def create_endpoint(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Nothing to reserve: the veth pair is made when the endpoint joins. Refuses options that do not fit."""
        endpoint_options.parse(endpoint.options)

    def delete_endpoint(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Leaving took the link away, or the end of its namespace does; then what is of the host alone is left."""
        self._reaper.retire(_own_links(endpoint))

    def join(self, network: Network[Options], endpoint: Endpoint, netns: Path) -> Attachment:
        link = veth_name(endpoint)
        self._remove_half_made(endpoint, link)
        for other in _own_links(endpoint):
            self._remove_half_made(endpoint, other)
        bridge = self._bridge_of(network)
        try:
            self._plug_in(network, endpoint, link, bridge, netns)
        except KernelError as error:
            if error.errno == errno.EXFULL:  # net/bridge/br_if.c, find_portno()
                raise NetworkFull(network.name) from error
            raise
        if not network.options.tx_checksum:
            self._compute_checksums(link, netns)
        self._shape(endpoint, bridge)
        return Attachment(
            link=link,
            gateways=() if network.internal else _gateways_of(network, endpoint),
            mtu=bridge.mtu,
            interface_prefix=network.options.interface_prefix,
        )

    def _bridge_of(self, network: Network[Options]) -> Link:
        try:
            [bridge] = self._host.get(get_link(bridge_name(network)), read_link)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                raise BridgeGone(network.name, bridge_name(network)) from error
            raise
        return bridge

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
            tag = self._tag("endpoint", endpoint.id)
            shape(self._host, veth_name(endpoint), _ifb_name(endpoint), tag, options, bridge.mtu)
        except (KernelError, DriverError):
            self._reaper.retire([veth_name(endpoint), *_own_links(endpoint)])
            raise

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

    def _wait_for_spanning_tree(self, endpoint: Endpoint) -> None:
        """Listening and learning take two seconds each; a port that would close a loop never forwards."""
        deadline = time.monotonic() + _SPANNING_TREE_S
        while time.monotonic() < deadline:
            if self._host.get(get_link(veth_name(endpoint)), is_forwarding) != [False]:
                return
            time.sleep(0.02)

    def leave(self, network: Network[Options], endpoint: Endpoint) -> None:
        self._reaper.retire([veth_name(endpoint), *_own_links(endpoint)])

    def _plug_in(self, network: Network[Options], endpoint: Endpoint, link: str, bridge: Link, netns: Path) -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(error.errno or errno.ENOENT, f"open the network namespace {netns}") from error
        settings = [alias(self._tag("endpoint", endpoint.id)), port_settings(isolated=not network.options.icc)]
        if self._ipv6:
            settings.append(without_link_local())
        # One datagram: nothing can stop us between making the link and tagging it as ours.
        refusals = self._host.attempt(
            [
                add_veth(link, link, descriptor, endpoint.mac, bridge.mtu, master=bridge.index),
                change(link, f"set up bridge port {link}", settings),
                set_up(link),
            ]
        )
        os.close(descriptor)
        if not refusals:
            return
        if refusals[0].errno != errno.EEXIST:
            self._reaper.retire([link])
        raise refusals[0]

    def _remove_half_made(self, endpoint: Endpoint, name: str) -> None:
        """A link that an interrupted join left, with its peer in the namespace, must go before we repeat."""
        link = self._host.link(name)
        if link is None:
            return
        if link.alias != self._tag("endpoint", endpoint.id):
            raise LinkTaken(name, "not ours", "remove it, or create the endpoint again")
        self._host.apply([delete_link(link.index)])

    # --- published ports ----------------------------------------------------------------------

    def publish(
        self, network: Network[Options], endpoint: Endpoint, ports: Sequence[PortBinding]
    ) -> tuple[PortBinding, ...]:
        ports = [with_default_address(network, port) for port in ports]
        rules = self._rules(network)
        with ExitStack() as undo:
            published = self._publisher.publish(rules, endpoint, ports)
            undo.callback(self._publisher.unpublish, rules, endpoint, published)
            self._prepare_turnaround(endpoint)
            undo.pop_all()
        return published

    def unpublish(self, network: Network[Options], endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        ports = [with_default_address(network, port) for port in ports]
        self._publisher.unpublish(self._rules(network), endpoint, ports)

    def publishes_to_host(self, network: Network[Options]) -> bool:
        return network.internal and network.options.publish_to_host

    def open_ports(self, network: Network[Options], endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        self._firewall.publish(openings(network, endpoint, ports))

    def shut_ports(self, network: Network[Options], endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        self._publisher.shut(openings(network, endpoint, ports))

    # --- endpoints that are kept apart ----------------------------------------------------------

    def keeps_apart(self, network: Network[Options]) -> bool:
        return not network.options.icc

    def detour(self, network: Network[Options]) -> str:
        """By way of the host: bridge ports that are isolated exchange no frame, and only here can a port be told."""
        bridge = self._bridge_of(network)
        if bridge.alias != self._tag("bridge", network.id):
            # One that we did not make takes another whenever a port comes or goes, unless somebody gave it one.
            keep = [mac(IFLA_ADDRESS, bridge.mac)]
            self._host.apply([change(bridge.name, f"keep the address of {bridge.name}", keep)])
        return bridge.mac

    def allow(self, network: Network[Options], pairs: Sequence[Pair]) -> None:
        self._firewall.publish([Linked(pair) for pair in pairs])

    def forbid(self, network: Network[Options], pairs: Sequence[Pair]) -> None:
        self._firewall.unpublish([Linked(pair) for pair in pairs])

    def look_around(self) -> Surroundings:
        """What the rules of others make of published ports; exposures() asks it."""
        return look_around(self._nft, self._host, self._firewall.user_chain)

    def exposures(
        self, seen: Surroundings, network: Network[Options], endpoint: Endpoint, binding: PortBinding
    ) -> list[tuple[Port | Relayed, Exposure]]:
        """How far a published port is really reached, in each family it is published in.

        That ::1 is one of all the host's addresses is not told.
        """
        rules = self._rules(network)
        [ways] = ways_of(rules, endpoint, [with_default_address(network, binding)])
        reached: list[Port | Relayed] = [*ways.ports]
        if ways.relayed is not None and (ways.relayed.family or ways.relayed.host_address):
            reached.append(ways.relayed)
        return [
            (port, HOST_ONLY if is_for_host(network, port) else seen.of_port(rules.bridge, port)) for port in reached
        ]

    def _prepare_turnaround(self, endpoint: Endpoint) -> None:
        """Let a container reach itself through a published port.

        Where br_netfilter shows bridged packets to the firewall, the translated packet never leaves
        the bridge, so it must go out by the port it came in. Elsewhere it is routed, and the bridge's
        setting stays off: it would also return the container's own broadcasts to it.
        """
        if read_sysctl("net/bridge/bridge-nf-call-iptables") == "1" and self._host.link(veth_name(endpoint)):
            self._host.apply([set_port(veth_name(endpoint), hairpin=True)])

    def settle(self) -> None:
        """Return when the conversations of withdrawn ports are forgotten, which otherwise takes place soon after."""
        self._publisher.settle()

    # --- what an engine that starts needs ---------------------------------------------------------

    def restore(
        self,
        networks: Iterable[tuple[Network[Options], Sequence[tuple[Endpoint, Sequence[PortBinding], bool]]]],
        allowed: Iterable[Pair] = (),
    ) -> list[DriverError]:
        """Make the firewall exactly what is declared and hold its ports again.

        One transaction, whatever was in the table. Ports that this engine holds already stay held.

        Args:
            networks: Each with its endpoints, their ports, and whether these are published there or
                only open (see open_ports).
            allowed: See allow().

        Returns:
            What could not be held: somebody took the port while no engine ran. It is published all
            the same, as before.
        """
        rules: list[NetworkRules] = []
        ports: list[Element] = [Linked(pair) for pair in allowed]
        failures: list[DriverError] = []
        for network, endpoints in networks:
            own = self._rules(network)
            rules.append(own)
            for endpoint, declared, published in endpoints:
                if not published:
                    ports += openings(network, endpoint, declared)
                    continue
                bindings = [with_default_address(network, port) for port in declared]
                ports += ports_in(ways_of(own, endpoint, bindings))
                failures += self._publisher.hold_again(own, endpoint, bindings)
        self._firewall.restore(rules, ports)
        return failures

    def links(self) -> list[tuple[Link, str, str]]:
        """Our links on the host, each with its kind ("bridge", "endpoint") and the object's id.

        Retired ones, which only wait for the reaper, are left out.
        """
        prefix = f"netmodel:{self._root_id}:"
        found = []
        for link in self._host.links():
            if link.alias.startswith(prefix) and link.group != self._reaper.group:
                kind, _, object_id = link.alias.removeprefix(prefix).partition(":")
                found.append((link, kind, object_id))
        return found

    def close(self) -> None:
        """Let go of ports and sockets; networks, links and rules stay."""
        self._publisher.close()

    def _rules(self, network: Network[Options]) -> NetworkRules:
        return replace(rules_of(network), open_to_all=self._direct_routing and not network.internal)

    def _tag(self, kind: str, object_id: str) -> str:
        return f"netmodel:{self._root_id}:{kind}:{object_id}"


def veth_name(endpoint: Endpoint) -> str:
    return f"nm{endpoint.id[:12]}"


def _ifb_name(endpoint: Endpoint) -> str:
    return f"ni{endpoint.id[:12]}"


def _own_links(endpoint: Endpoint) -> list[str]:
    """The links that are of an endpoint, but have no end in its namespace."""
    return [_ifb_name(endpoint)] if endpoint_options.EGRESS_RATE in endpoint.options else []


def _met_by_host(network: Network[Options]) -> list[Pool]:
    """The pools in which the host itself is on the network."""
    return [pool for pool in network.pools if network.options.gateway_mode(pool.subnet.version) != "isolated"]


def _gateways_of(network: Network[Options], endpoint: Endpoint) -> tuple[IPAddress, ...]:
    families = {address.version for address in endpoint.addresses}
    ways = [pool.way_out or pool.gateway for pool in network.pools if pool.subnet.version in families]
    return tuple(way for way in ways if way is not None)


def _mac_of(network_id: str) -> str:
    """Locally administered, and the same whenever the network is made: neighbours' caches stay right."""
    return "02:" + hashlib.sha256(network_id.encode()).digest()[:5].hex(":")
