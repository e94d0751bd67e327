"""What the kernel must show, given what an engine reports: worked out anew here, from the report alone.

The rules are those that users are told (docs/bridge-networks.md, docs/names-and-addresses.md), not the engine's code.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netmodel.model import Container, Endpoint, Network, PortConfig
from tests.netmodel.engine import kernel_view
from tests.netmodel.engine.engine_process import Report
from tests.netmodel.engine.kernel_view import LinkView
from tests.support.box import Box

BRIDGE_OPTION = "com.docker.network.bridge."
_NUMBERS = {"tcp": 6, "udp": 17}
Held = tuple[str, str, int]  # protocol, address, port


def check(report: Report, root: Path, host: Box) -> None:
    """Compare everything."""
    tag = f"netmodel:{kernel_view.root_id(root)}"
    links = links_of_host(report, tag)
    same("links of the host", _plain(kernel_view.host_links(host), links), links)
    same("the firewall's elements", sorted_elements(host, root), elements(report))
    running = {one.id for one in report.containers if one.state.running}
    same("control groups", kernel_view.control_groups(root), running)
    for owner in sandboxes_in_service(report):
        box = Box.at(owner.name, report.sandboxes[owner.id])
        try:
            _check_sandbox(report, owner, box)
        finally:
            box.close()
    _check_usage(report)


def same(what: str, seen: Any, wanted: Any) -> None:
    """Fail unless both are equal, and say where they differ."""
    if seen == wanted:
        return
    if isinstance(wanted, dict):
        differing = [key for key in {**seen, **wanted} if seen.get(key) != wanted.get(key)]
        lines = [f"{key}: is {seen.get(key)}, should be {wanted.get(key)}" for key in differing]
    else:
        lines = [f"is {seen}, should be {wanted}"]
    raise AssertionError("\n  ".join([what, *lines]))


# --- who is in service --------------------------------------------------------------------------


def sandboxes_in_service(report: Report) -> list[Container]:
    """The owners of those in which somebody runs."""
    used = {one.sandbox for one in report.containers if one.state.running}
    return [one for one in report.containers if one.id in used]


def endpoints_in_service(report: Report) -> list[Endpoint]:
    owners = {one.id for one in sandboxes_in_service(report)}
    return [one for one in report.endpoints if one.container_id in owners]


# --- links ------------------------------------------------------------------------------------


def links_of_host(report: Report, tag: str) -> dict[str, LinkView]:
    """Every link there is on the host: the networks' own, and one for each endpoint that is in service."""
    links = {bridge_of(one): _bridge(one, tag) for one in report.networks if one.config.driver == "bridge"}
    present = defaultdict(list)
    for endpoint in endpoints_in_service(report):
        network = report.network(endpoint.network_id)
        present[network.id].append(endpoint)
        if network.config.driver == "bridge":
            links[f"nm{endpoint.id[:12]}"] = _port(network, endpoint, tag)
    for network in report.networks:
        if network.config.driver == "p2p" and len(present[network.id]) == 1:
            links[f"nm{network.id[:12]}"] = LinkView(mac="", up=False, alias=f"{tag}:cable:{network.id}")
        if network.config.driver == "macvlan":
            links[f"dm-{network.id[:12]}"] = LinkView(mac="", alias=f"{tag}:parent:{network.id}")
    return links


def bridge_of(network: Network) -> str:
    return network.config.options.get(f"{BRIDGE_OPTION}name", f"br-{network.id[:12]}")


def _bridge(network: Network, tag: str) -> LinkView:
    gateways = [(pool.gateway, pool.subnet.prefixlen) for pool in network.pools if pool.gateway is not None]
    return LinkView(
        mac="02:" + hashlib.sha256(network.id.encode()).digest()[:5].hex(":"),
        addresses=frozenset(f"{gateway}/{prefix}" for gateway, prefix in gateways),
        alias=f"{tag}:bridge:{network.id}",
    )


def _port(network: Network, endpoint: Endpoint, tag: str) -> LinkView:
    isolated = network.config.options.get(f"{BRIDGE_OPTION}enable_icc") == "false"
    return LinkView(mac="", bridge=bridge_of(network), isolated=isolated, alias=f"{tag}:endpoint:{endpoint.id}")


def _plain(seen: dict[str, LinkView], wanted: dict[str, LinkView]) -> dict[str, LinkView]:
    """Without what the kernel chooses: the MAC address of a host's end, a link-local address beside one of IPv6."""
    plain = {}
    for name, link in seen.items():
        expected = wanted.get(name, link)
        addresses = link.addresses
        if any(":" in address for address in expected.addresses):
            addresses = frozenset(address for address in addresses if not address.startswith("fe80:"))
        plain[name] = replace(link, addresses=addresses, mac=link.mac if expected.mac else "")
    return plain


# --- inside -----------------------------------------------------------------------------------


def _check_sandbox(report: Report, owner: Container, box: Box) -> None:
    endpoints = report.endpoints_of(owner.id)
    seen = kernel_view.sandbox(box)
    wanted = {
        one.interface: LinkView(mac=one.mac, addresses=frozenset(str(address) for address in one.addresses))
        for one in endpoints
    }
    links = {name: replace(link, alias="") for name, link in seen.links.items()}  # a cable's tag is no matter here
    same(f"links of {owner.name}", _plain(links, wanted), wanted)
    same(f"default routes of {owner.name}", set(seen.ways_out), ways_out(report, endpoints))
    if endpoints:
        _check_names(report, owner, box)


def ways_out(report: Report, endpoints: list[Endpoint]) -> set[str]:
    ways = set()
    for family in (4, 6):
        chosen = gateway_endpoint(report, endpoints, family)
        if chosen is not None:
            network = report.network(chosen.network_id)
            [gateway] = [pool.gateway for pool in network.pools if pool.subnet.version == family]
            ways.add(f"{gateway} {chosen.interface}")
    return ways


def gateway_endpoint(report: Report, endpoints: list[Endpoint], family: int) -> Endpoint | None:
    offers = [(report.network(one.network_id), one.config.gw_priority) for one in endpoints]
    chosen = gateway_network(offers, family)
    return next((one for one in endpoints if chosen is not None and one.network_id == chosen.id), None)


def gateway_network(offers: Sequence[tuple[Network, int]], family: int) -> Network | None:
    """Of networks and priorities the highest, then the name that sorts first; of networks that lead anywhere."""
    leading = [
        (-priority, network.name, network)
        for network, priority in offers
        if network.config.driver == "bridge" and not network.config.internal and family in families_of(network)
    ]
    return min(leading, key=lambda offer: offer[:2])[2] if leading else None


def families_of(network: Network) -> list[int]:
    return [pool.subnet.version for pool in network.pools]


def _check_names(report: Report, owner: Container, box: Box) -> None:
    """Everybody on a network of its own is found by name at an address there, and nobody else is found at all."""
    reachable = {one.network_id for one in report.endpoints_of(owner.id)}
    in_service = endpoints_in_service(report)
    for other in report.containers:
        there = [one for one in in_service if one.container_id == other.id and one.network_id in reachable]
        possible = {
            family: {frozenset(str(a.ip) for a in one.addresses if a.version == family) for one in there}
            for family in (4, 6)
        }
        for family, answers in possible.items():
            seen = kernel_view.answer(box, other.name, family)
            if seen not in (answers or {frozenset()}):
                raise AssertionError(f"{owner.name} finds {other.name} at {set(seen)}, not at one of {answers}")


# --- ports ------------------------------------------------------------------------------------


def publisher(report: Report, container: Container) -> Endpoint | None:
    """The endpoint that a running container's published ports lead to."""
    endpoints = report.endpoints_of(container.id)
    return gateway_endpoint(report, endpoints, 4) or gateway_endpoint(report, endpoints, 6)


def publishing_network(offers: Sequence[tuple[Network, int]]) -> Network | None:
    return gateway_network(offers, 4) or gateway_network(offers, 6)


def is_routed(network: Network, family: int) -> bool:
    return network.config.options.get(f"{BRIDGE_OPTION}gateway_mode_ipv{family}") == "routed"


def translated(network: Network, port: PortConfig) -> list[int]:
    """The families in which the kernel translates a port of the host to a port on a network."""
    wanted = port.host_address
    families = [one for one in families_of(network) if wanted is None or wanted.version == one]
    return [family for family in families if not is_routed(network, family)]


def is_relayed(network: Network, port: PortConfig) -> bool:
    """Whether an address of the host leads to a network that has only the other family, which takes the engine."""
    families = families_of(network)
    reached = any(not is_routed(network, family) for family in families)
    return reached and port.host_address is not None and port.host_address.version not in families


def is_served(network: Network, port: PortConfig) -> bool:
    """Whether a port of the host leads there at all."""
    return bool(translated(network, port)) or is_relayed(network, port)


def held_for(network: Network, port: PortConfig) -> set[Held]:
    """What of the host is taken by a port that is published on a network: what cannot be bound beside it."""
    families = translated(network, port)
    if families and port.host_address is None and len(families) == len(families_of(network)):
        families = [4, 6]  # a port of no address in particular is held in both
    elif port.host_address is not None and is_relayed(network, port):
        families = [port.host_address.version]
    addresses = {4: ("127.0.0.1", "0.0.0.0"), 6: ("::",)}
    return {(port.protocol, address, port.host_port) for family in families for address in addresses[family]}


def held(report: Report) -> set[Held]:
    found: set[Held] = set()
    for container in report.containers:
        endpoint = publisher(report, container)
        for port in container.ports:
            assert endpoint is not None, f"{container.name} publishes and has no way out"
            found |= held_for(report.network(endpoint.network_id), port)
    return found


# --- the firewall -----------------------------------------------------------------------------


def sorted_elements(host: Box, root: Path) -> dict[str, list[str]]:
    """What is in them."""
    seen = kernel_view.elements(host, f"inet netmodel_{kernel_view.root_id(root)}")
    return {name: sorted(found) for name, found in seen.items()}


def elements(report: Report) -> dict[str, list[str]]:
    """What must be in the table's sets and maps."""
    found: dict[str, list[str]] = defaultdict(list)
    for network in report.networks:
        if network.config.driver == "bridge":
            for name, element in _of_network(network):
                found[name].append(element)
    for container in report.containers:
        if container.ports:
            for name, element in _of_ports(report, container):
                found[name].append(element)
    return {name: sorted(set(there)) for name, there in found.items()}


def _of_network(network: Network) -> Iterator[tuple[str, str]]:
    bridge, options = bridge_of(network), network.config.options
    yield "bridges", bridge
    yield "same_bridge", f"{bridge} . {bridge}"
    apart = options.get(f"{BRIDGE_OPTION}enable_icc") == "false"
    yield "within", f"{bridge} . {bridge} : {'goto linked' if apart else 'accept'}"
    if network.config.internal:
        yield "internal", bridge
        return
    for family in (4, 6):
        if is_routed(network, family):
            yield "routed", f"ipv{family} . {bridge}"
        elif options.get(f"{BRIDGE_OPTION}enable_ip_masquerade") != "false":
            yield "masqueraded", f"ipv{family} . {bridge}"


def _of_ports(report: Report, container: Container) -> Iterator[tuple[str, str]]:
    chosen = publisher(report, container)
    assert chosen is not None, f"{container.name} publishes and has no way out"
    for port in container.ports:
        number = _NUMBERS[port.protocol]
        families = translated(report.network(chosen.network_id), port)
        for address in chosen.addresses:
            if address.version not in families:
                continue
            target = f"{address.ip} . {port.container_port}"
            if port.host_address is None:
                yield f"ports{address.version}_any", f"{number} . {port.host_port} : {target}"
            else:
                yield f"ports{address.version}", f"{port.host_address} . {number} . {port.host_port} : {target}"
        for endpoint in report.endpoints_of(container.id):
            network = report.network(endpoint.network_id)
            for address in endpoint.addresses:
                wanted = port.host_address
                if is_routed(network, address.version) and not network.config.internal and wanted is None:
                    yield f"open{address.version}", f"{address.ip} . {number} . {port.container_port}"


# --- addresses --------------------------------------------------------------------------------


def _check_usage(report: Report) -> None:
    """Who has an address: the gateway, and each endpoint, whether its container runs or not."""
    for network in report.networks:
        users = [one for one in report.endpoints if one.network_id == network.id]
        for pool, usage in zip(network.pools, report.usage[network.id], strict=True):
            same(f"addresses used of {network.name}", usage.in_use, (pool.gateway is not None) + len(users))
            everything = usage.in_use + usage.available + usage.special
            same(f"addresses of {network.name}", everything, pool.subnet.num_addresses)
        taken = [address.ip for one in users for address in one.addresses]
        taken += [pool.gateway for pool in network.pools if pool.gateway is not None]
        assert len(taken) == len(set(taken)), network.name
