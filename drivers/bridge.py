"""bridge: every network is a Linux bridge on the host, every endpoint a veth pair plugged into it.

The gateway of a network is the bridge itself. How bridges and their ports are made is told in
bridge_link and bridge_port, what the firewall does with a network and its published ports in
firewall.nft; names, addresses and routes inside are the sandbox's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from drivers import endpoint_options
from drivers.api import Attachment, Endpoint, IPAddress, Network, Pair, PortBinding, Traits
from drivers.bridge_link import BridgeLinks
from drivers.bridge_options import Options, check_modes, parse
from drivers.bridge_port import BridgePorts, veth_name
from drivers.bridge_rules import host_link, is_for_host, openings, rules_of, with_default_address
from drivers.elements import Element, Linked, Port
from drivers.errors import DriverError
from drivers.exposure import HOST_ONLY, Exposure
from drivers.firewall import Firewall
from drivers.forwarding import Forwarding
from drivers.kernel.errors import KernelError
from drivers.kernel.link import Link
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from drivers.network_rules import NetworkRules
from drivers.publishing import Publisher
from drivers.relayed import Relayed
from drivers.surroundings import Surroundings, look_around
from drivers.ways import ports_in, ways_of


class Bridge:
    """The driver of bridge networks; safe to use from several threads, a network at a time.

    Args:
        host: Opened in the host's namespace.
        root_id: Eight hexadecimal digits; in the tag of every link we make.
        direct_routing: Published ports are reached from everywhere at the containers' own addresses, too.
        may_forward: Let the host forward packets where it does not yet.
        relays: Carry what the kernel does not translate of published ports: the other family's, and that of ::1.
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
        relays: bool = True,
    ) -> None:
        self._host = host
        self._firewall = firewall
        self._reaper = reaper
        self._root_id = root_id
        self._direct_routing = direct_routing
        self._relays = relays
        self._links = BridgeLinks(host, reaper, root_id)
        self._ports = BridgePorts(host, reaper, root_id)
        self._forwarding = Forwarding(may_change=may_forward)
        self._publisher = Publisher(firewall)

    @property
    def forwarding_changed(self) -> tuple[str, ...]:
        """The host-wide settings that this engine turned on because a network needed them."""
        return self._forwarding.changed

    def parse(self, options: Mapping[str, str]) -> Options:
        return parse(self.name, options)

    def traits(self, options: Options, internal: bool) -> Traits:
        return Traits(claim=options.host_link)

    # --- networks -----------------------------------------------------------------------------

    def create_network(self, network: Network[Options]) -> None:
        check_modes(network.options, internal=network.internal)
        self._ports.check(network.options)
        with ExitStack() as undo:
            self._links.ensure(network, undo)
            self._firewall.add_network(self._rules(network))
            undo.callback(self._firewall.remove_network, host_link(network))
            self._forwarding.ensure(network)
            undo.pop_all()

    def delete_network(self, network: Network[Options]) -> None:
        failures: list[Exception] = []
        name = host_link(network)
        remove = partial(self._links.remove, network, self._firewall.knows(name), self._firewall.knows)
        for step in (partial(self._firewall.remove_network, name), remove):
            try:
                step()
            except (KernelError, DriverError) as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"network {network.name} is not wholly removed", failures)

    def advice(self, network: Network[Options]) -> list[str]:
        """What works, but not as one would wish."""
        return [*self._forwarding.advice(network), *self._links.advice(network)]

    def segment(self, options: Options) -> str:
        """The link of the host on which addresses are leased."""
        return self._links.segment(options)

    # --- endpoints ----------------------------------------------------------------------------

    def create_endpoint(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Nothing to reserve: the veth pair is made when the endpoint joins. Refuses options that do not fit."""
        endpoint_options.parse(endpoint.options)

    def delete_endpoint(self, network: Network[Options], endpoint: Endpoint) -> None:
        """Leaving took the link away, or the end of its namespace does; then what is of the host alone is left."""
        self._ports.forget(endpoint)

    def join(self, network: Network[Options], endpoint: Endpoint, netns: Path) -> Attachment:
        bridge = self._links.find(network)
        return Attachment(
            link=self._ports.plug_in(network, endpoint, bridge, netns),
            gateways=() if network.internal else _gateways_of(network, endpoint),
            mtu=bridge.mtu,
            interface_prefix=network.options.interface_prefix,
        )

    def wait_until_carried(self, network: Network[Options], endpoint: Endpoint) -> None:
        self._ports.wait_until_carried(network, endpoint)

    def plug_back(self, network: Network[Options], endpoint: Endpoint, link: Link, *, published: bool) -> bool:
        """Mend what somebody cut who deleted the bridge under an endpoint that is in service; False: it was whole.

        Args:
            link: Of the host, with the endpoint's tag.
            published: The endpoint has published ports.
        """
        if link.master or link.name != veth_name(endpoint):
            return False
        self._ports.plug_back(network, endpoint, self._links.find(network), published=published)
        return True

    def leave(self, network: Network[Options], endpoint: Endpoint) -> None:
        self._ports.pull_out(endpoint)

    # --- published ports ----------------------------------------------------------------------

    def publish(
        self, network: Network[Options], endpoint: Endpoint, ports: Sequence[PortBinding]
    ) -> tuple[PortBinding, ...]:
        ports = [with_default_address(network, port) for port in ports]
        rules = self._rules(network)
        with ExitStack() as undo:
            published = self._publisher.publish(rules, endpoint, ports)
            undo.callback(self._publisher.unpublish, rules, endpoint, published)
            self._ports.turn_around(endpoint)
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
        return self._links.keep_mac(network)

    def allow(self, network: Network[Options], pairs: Sequence[Pair]) -> None:
        self._firewall.publish([Linked(pair) for pair in pairs])

    def forbid(self, network: Network[Options], pairs: Sequence[Pair]) -> None:
        self._firewall.unpublish([Linked(pair) for pair in pairs])

    def look_around(self) -> Surroundings:
        """What the rules of others make of published ports; exposures() asks it."""
        return look_around(self._firewall.nft, self._host, self._firewall.user_chain)

    def exposures(
        self, seen: Surroundings, network: Network[Options], endpoint: Endpoint, binding: PortBinding
    ) -> list[tuple[Port | Relayed, Exposure]]:
        """How far a published port is really reached, in each family it is published in."""
        link, vrf = host_link(network), network.options.vrf
        if vrf:  # what comes out of a VRF has come in by it, as rules see it
            seen = replace(seen, ways={4: vrf, 6: vrf})
        [reached] = self.reached(network, endpoint, [binding])
        return [(port, HOST_ONLY if is_for_host(network, port) else seen.of_port(link, port)) for port in reached]

    def reached(
        self, network: Network[Options], endpoint: Endpoint, bindings: Iterable[PortBinding]
    ) -> list[list[Port | Relayed]]:
        """Where each published port is reached, were there no rules but ours; but for ::1 as one of all addresses."""
        placed = (with_default_address(network, binding) for binding in bindings)
        found = []
        for ways in ways_of(self._rules(network), endpoint, placed):
            reached: list[Port | Relayed] = [*ways.ports]
            if ways.relayed is not None and (ways.relayed.family or ways.relayed.host_address):
                reached.append(ways.relayed)
            found.append(reached)
        return found

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
        open_to_all = self._direct_routing and not network.internal
        return replace(rules_of(network), open_to_all=open_to_all, relays=self._relays)


def _gateways_of(network: Network[Options], endpoint: Endpoint) -> tuple[IPAddress, ...]:
    families = {address.version for address in endpoint.addresses}
    ways = [pool.way_out or pool.gateway for pool in network.pools if pool.subnet.version in families]
    return tuple(way for way in ways if way is not None)
