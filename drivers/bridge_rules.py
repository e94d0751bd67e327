"""What the firewall is told of a bridge network and of the ports that are published on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from drivers.api import Endpoint, IPAddress, Network, PortBinding
from drivers.bridge_options import Options
from drivers.elements import Opening, Port
from drivers.network_rules import NetworkRules
from drivers.relayed import Relayed
from drivers.ways import ports_in, ways_of

ANY: dict[int, IPAddress] = {4: ip_address("0.0.0.0"), 6: ip_address("::")}


def bridge_name(network: Network[Options]) -> str:
    return network.options.name or f"br-{network.id[:12]}"


def host_link(network: Network[Options]) -> str:
    """The host's own link to the network, by which its packets are known; mostly the bridge itself."""
    return network.options.host_link or bridge_name(network)


def rules_of(network: Network[Options]) -> NetworkRules:
    options = network.options
    if network.internal:
        return NetworkRules(
            bridge=host_link(network), beneath=_beneath(network), internal=True, icc=options.icc, masquerade=()
        )
    by_mode: dict[str, tuple[int, ...]] = {
        mode: tuple(family for family in (4, 6) if options.gateway_mode(family) == mode)
        for mode in ("nat", "nat-unprotected", "routed")
    }
    masqueraded = tuple(sorted((*by_mode["nat"], *by_mode["nat-unprotected"]))) if options.masquerade else ()
    chosen = (options.host_ipv4, options.host_ipv6)
    return NetworkRules(
        bridge=host_link(network),
        beneath=_beneath(network),
        vrf=options.vrf,
        subnets=tuple(pool.subnet for pool in network.pools) if options.vrf else (),
        icc=options.icc,
        masquerade=masqueraded,
        sources=tuple(one for one in chosen if one is not None and one.version in masqueraded),
        unprotected=by_mode["nat-unprotected"],
        routed=by_mode["routed"],
        trusted=options.trusted,
    )


def _beneath(network: Network[Options]) -> str:
    return bridge_name(network) if host_link(network) != bridge_name(network) else ""


def is_for_host(network: Network[Options], port: Port | Relayed) -> bool:
    address = None if isinstance(port, Opening) else port.host_address
    return network.internal or (address is not None and address.is_loopback)


def openings(network: Network[Options], endpoint: Endpoint, ports: Sequence[PortBinding]) -> list[Port]:
    """The ports in the families in which the network is routed to."""
    rules = rules_of(network)
    if not rules.routed:
        return []
    addresses = tuple(one for one in endpoint.addresses if one.version in rules.routed)
    own = replace(endpoint, addresses=addresses)
    wanted = [port for port in ports if any(port.host_address in (None, ANY[one.version]) for one in addresses)]
    return [one for one in ports_in(ways_of(rules, own, wanted)) if isinstance(one, Opening)]


def with_default_address(network: Network[Options], port: PortBinding) -> PortBinding:
    default = network.options.host_binding
    if port.host_address is not None or default is None or default.is_unspecified:
        return port
    return replace(port, host_address=default)
