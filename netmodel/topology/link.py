"""x-link: p2p makes a network a bare link between two containers, whose subnet may be told by their addresses alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network

from netmodel.model import IPAddress, IPNetwork, PoolConfig
from netmodel.topology.network import P2P, Network
from netmodel.topology.service import Service
from netmodel.topology.value import Value

# No link needs more than what one LAN of the family has.
_WIDEST = {4: 24, 6: 64}


def with_subnets(networks: Mapping[str, Network], services: Iterable[Service]) -> dict[str, Network]:
    """Give each link that has no subnet of a family the one that its ends' addresses make."""
    claimed: dict[str, list[tuple[IPAddress, Value]]] = {}
    for service in services:
        for attachment in service.attachments:
            claimed.setdefault(attachment.key, []).extend(attachment.addresses)
    return {key: _with_subnets(network, claimed.get(key, [])) for key, network in networks.items()}


def _with_subnets(network: Network, claimed: Sequence[tuple[IPAddress, Value]]) -> Network:
    if network.config.driver != P2P or network.external or network.value is None:
        return network
    config = network.config
    pools = [(pool, value) for pool, value in network.pools if pool.subnet is not None]
    for family in (4, 6):
        addresses = [address for address, _ in claimed if address.version == family]
        if not addresses or any(pool.subnet is not None and pool.subnet.version == family for pool, _ in pools):
            continue
        subnet = smallest_subnet(addresses)
        if subnet is not None:
            pools.append((PoolConfig(subnet=subnet), network.value))
            config = replace(config, enable_ipv6=True) if family == 6 else config
    return replace(network, config=replace(config, pools=tuple(pool for pool, _ in pools)), pools=tuple(pools))


def smallest_subnet(addresses: Sequence[IPAddress]) -> IPNetwork | None:
    """The smallest subnet in which all addresses may be given to an end; None where they are far apart.

    One address alone has the subnet of four that it is commonly in, or else that of two.
    """
    family = addresses[0].version
    lengths = list(range(addresses[0].max_prefixlen - 1, _WIDEST[family] - 1, -1))
    if len(addresses) == 1:
        lengths[:2] = reversed(lengths[:2])
    for length in lengths:
        subnet = ip_network((addresses[0], length), strict=False)
        if all(address in subnet and _may_be_given(address, subnet) for address in addresses):
            return subnet
    return None


def _may_be_given(address: IPAddress, subnet: IPNetwork) -> bool:
    # RFC 3021 for IPv4, RFC 6164 for IPv6: of two addresses, none is special.
    if subnet.num_addresses == 2:
        return True
    return address != subnet.network_address and (subnet.version == 6 or address != subnet.broadcast_address)


def check(network: Network, services: Iterable[Service]) -> None:
    """Record a mistake where a link has other than two ends.

    One that is a network of that driver, without x-link, may get its second end later.
    """
    if network.config.driver != P2P or network.external or network.value is None:
        return
    pairs = network.value.pairs() if network.value.is_mapping else {}
    place = pairs.get("x-link") or pairs.get("driver") or network.value
    names = [
        service.name
        for service in services
        for attachment in service.attachments
        for _ in range(service.replicas)
        if attachment.key == network.key
    ]
    if len(names) > 2 or ("x-link" in pairs and len(names) < 2):
        attached = f"{len(names)} are attached: {', '.join(names[:5])}" if names else "none is attached"
        attached = f"only {names[0]} is attached" if len(names) == 1 else attached
        attached += ", ..." if len(names) > 5 else ""
        place.error(
            f"a link joins exactly two containers, and {attached}", "more of them need a network without x-link"
        )
    for pool, value in network.pools:
        if pool.gateway is not None:
            value.pairs()["gateway"].error_at_key(
                "has no place on a link between two containers",
                "let x-routes of a service name the other as its gateway",
            )
