"""What only the whole file can tell: names that lead nowhere, cycles, addresses and ports claimed twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from netmodel.model import IPAddress, IPNetwork, PortConfig
from netmodel.topology import link, names
from netmodel.topology.attachment import Attachment
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.network import DEFAULT, Network, Volume
from netmodel.topology.service import Service
from netmodel.topology.value import Value

BRIDGE_PORTS = 1023  # Linux net/bridge/br_private.h, BR_MAX_PORTS
MAX_CYCLES = 20  # told of; a tangle of services has more than anybody reads

Services = Mapping[str, Service]
Networks = Mapping[str, Network]
Claims = dict[str, dict[IPAddress, Value]]  # by network: which address is whose


def check(project: str, services: Services, networks: Networks, volumes: Mapping[str, Volume]) -> Claims:
    """Run every check, and say which addresses the services claim."""
    _network_names(networks)
    _subnets(networks)
    _container_names(project, services)
    _volumes(services, volumes)
    _replicas(services)
    _ports(services)
    claims: Claims = {}
    macs: dict[tuple[str, str], Value] = {}
    for service in services.values():
        _attachments(service, networks, claims, macs)
        _routes(service, networks)
        _mode(service, services)
        _unpublished(service, networks)
    for network in networks.values():
        link.check(network, services.values())
        _room(network, services.values())
    _dependencies(services)
    return claims


# --- names ----------------------------------------------------------------------------------------


def _network_names(networks: Networks) -> None:
    seen: dict[str, Network] = {}
    for network in networks.values():
        other = seen.setdefault(network.config.name, network)
        if other is not network and network.value is not None:
            network.value.error_at_key(f'has the name "{network.config.name}", and so has network "{other.key}"')


def _container_names(project: str, services: Services) -> None:
    seen: dict[str, Service] = {}
    for service in services.values():
        if service.container_name and service.replicas > 1:
            service.fields["container_name"].error(
                f"one name cannot serve {service.replicas} replicas", "drop container_name, or the replicas"
            )
            continue
        for name in container_names(project, service):
            other = seen.setdefault(name, service)
            if other is not service:
                value = service.fields.get("container_name", service.value)
                value.error(f'service "{other.name}" ({other.value.place}) has a container named "{name}", too')


def container_names(project: str, service: Service) -> list[str]:
    if service.container_name:
        return [service.container_name] if service.replicas else []
    return [names.container(project, service.name, number) for number in range(1, service.replicas + 1)]


def _volumes(services: Services, volumes: Mapping[str, Volume]) -> None:
    for service in services.values():
        for mount in service.mounts:
            source = mount.config.source
            if mount.config.type == "volume" and source and source not in volumes:
                mount.value.error(
                    f'there is no volume "{source}" under volumes:',
                    did_you_mean(source, volumes) or f"declare it there, or write ./{source} for a directory",
                )


# --- replicas and ports -----------------------------------------------------------------------------


def _replicas(services: Services) -> None:
    for service in services.values():
        if service.replicas < 2:
            continue
        for attachment in service.attachments:
            for address, value in attachment.addresses:
                value.error(f"{service.replicas} replicas cannot share the address {address}", "let it be chosen")
            if attachment.config.mac_address is not None:
                value = attachment.fields.get("mac_address", service.fields.get("mac_address", service.value))
                value.error(f"{service.replicas} replicas cannot share one MAC address")


def _room(network: Network, services: Iterable[Service]) -> None:
    if network.config.driver != "bridge":
        return
    members = [service for service in services for one in service.attachments if one.key == network.key]
    count = sum(service.replicas for service in members)
    if count > BRIDGE_PORTS:
        value = network.value or max(members, key=lambda service: service.replicas).value
        value.error_at_key(
            f'puts {count:,} containers on network "{network.key}"; the kernel allows {BRIDGE_PORTS:,} on one bridge',
            "spread them over several networks",
        )


def _ports(services: Services) -> None:
    claimed: dict[tuple[str, int], list[tuple[PortConfig, Value, Service]]] = {}
    for service in services.values():
        for port, value in service.ports:
            if not port.host_port:
                continue
            room = max(port.host_port_end - port.host_port, 0) + 1
            if room < service.replicas:
                value.error(
                    f"{service.replicas} replicas cannot publish {room} host port{'s' if room > 1 else ''}",
                    f"give a range: {port.host_port}-{port.host_port + service.replicas - 1}:{port.container_port}",
                )
            if port.host_port_end:
                continue
            others = claimed.setdefault((port.protocol, port.host_port), [])
            for other, _, holder in others:
                if _overlap(port, other):
                    whose = "it" if holder is service else f'service "{holder.name}" ({holder.value.place})'
                    value.error(f"host port {port.host_port}/{port.protocol} is published by {whose} already")
                    break
            others.append((port, value, service))


def _overlap(one: PortConfig, other: PortConfig) -> bool:
    """Whether both want the port at one address; no address at all is every one of both families."""
    a, b = one.host_address, other.host_address
    if a is None or b is None:
        return True
    return a.version == b.version and (a == b or a.is_unspecified or b.is_unspecified)


# --- networks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Subnet:
    prefix: IPNetwork
    network: Network
    value: Value

    @property
    def order(self) -> tuple[int, int]:
        return self.prefix.version, int(self.prefix.network_address)

    def reaches(self, other: _Subnet) -> bool:
        """Whether it goes on to where the other, which does not begin before it, begins."""
        same = self.prefix.version == other.prefix.version
        return same and int(other.prefix.network_address) <= int(self.prefix.broadcast_address)


def _subnets(networks: Networks) -> None:
    """In the order of their beginnings, one that overlaps any other overlaps the farthest-reaching before it."""
    subnets = [
        _Subnet(pool.subnet, network, value)
        for network in networks.values()
        for pool, value in network.pools
        if pool.subnet is not None
    ]
    subnets.sort(key=lambda subnet: subnet.order)
    farthest: _Subnet | None = None
    for subnet in subnets:
        if farthest is None or not farthest.reaches(subnet):
            farthest = subnet
            continue
        first, second = sorted((farthest, subnet), key=lambda one: (one.value.line, one.value.column))
        second.value.error(
            f'{second.prefix} overlaps {first.prefix} of network "{first.network.key}" ({first.value.place})',
            "two networks of one machine cannot share addresses",
        )
        if int(subnet.prefix.broadcast_address) > int(farthest.prefix.broadcast_address):
            farthest = subnet


def _attachments(service: Service, networks: Networks, claims: Claims, macs: dict[tuple[str, str], Value]) -> None:
    interfaces: dict[str, Value] = {}
    for attachment in service.attachments:
        network = networks.get(attachment.key)
        if network is None:
            attachment.value.error_at_key(
                f'there is no network "{attachment.key}" under networks:',
                did_you_mean(attachment.key, networks) or "declare it there",
            )
            continue
        _addresses(attachment, network, claims.setdefault(network.key, {}))
        _mac(attachment, network, macs)
        name = attachment.config.interface_name
        if name is not None:
            value = attachment.fields["interface_name"]
            if name in interfaces:
                value.error(f'the interface "{name}" is in {interfaces[name].place} already')
            interfaces[name] = value


def _mac(attachment: Attachment, network: Network, seen: dict[tuple[str, str], Value]) -> None:
    """Warn of two of the same: frames reach one of them alone."""
    mac = attachment.config.mac_address
    if mac is None or "mac_address" not in attachment.fields:
        return
    value = attachment.fields["mac_address"]
    other = seen.setdefault((network.key, mac.lower()), value)
    if other is not value:
        value.warn(f"{mac} is another one's there ({other.place}): frames reach one of the two")


def _addresses(attachment: Attachment, network: Network, claimed: dict[IPAddress, Value]) -> None:
    for address, value in attachment.addresses:
        if address in claimed:
            other = claimed[address]
            value.error(f"{address} is taken by {_owner(other)} ({other.place})")
            continue
        claimed[address] = value
        if not network.external:
            _check_address(address, value, network)


def _owner(value: Value) -> str:
    parts = value.key.split(".networks.")
    return f'service "{parts[0].removeprefix("services.")}"'


def _check_address(address: IPv4Address | IPv6Address, value: Value, network: Network) -> None:
    pools = [pool for pool, _ in network.pools if pool.subnet is not None and pool.subnet.version == address.version]
    if not pools:
        if network.config.leased:
            value.error(
                f'network "{network.key}" has the addresses that its DHCP server lends (ipam.driver: dhcp)',
                "have the server keep this one for a mac_address, and give that",
            )
        elif all(pool.subnet is None for pool, _ in network.pools):
            wanted = f"networks.{network.key}.ipam.config"
            value.error(
                f'a chosen address needs a chosen subnet, and network "{network.key}" has none', f"give {wanted}"
            )
        else:
            subnets = _listed(pool.subnet for pool, _ in network.pools)
            value.error(f'{address} is outside network "{network.key}", which has only {subnets}')
        return
    for pool in pools:
        if pool.subnet is None or address not in pool.subnet:
            continue
        if address == pool.gateway:
            value.error(f'{address} is the gateway of network "{network.key}"', "choose another for one of the two")
        elif pool.subnet.num_addresses > 2 and address == pool.subnet.network_address:
            value.error(f"{address} is the address of the subnet {pool.subnet} itself")
        elif not isinstance(pool.subnet, IPv6Network) and (
            pool.subnet.num_addresses > 2 and address == pool.subnet.broadcast_address
        ):
            value.error(f"{address} is the broadcast address of the subnet {pool.subnet}")
        for name, kept in pool.auxiliary.items():
            if kept == address:
                value.error(f'{address} is kept aside as "{name}" in aux_addresses of network "{network.key}"')
        return
    value.error(f'{address} is outside {_listed(pool.subnet for pool in pools)} of network "{network.key}"')


def _listed(subnets: Iterable[IPNetwork | None]) -> str:
    return " and ".join(str(subnet) for subnet in subnets if subnet is not None)


def _routes(service: Service, networks: Networks) -> None:
    if service.routes and service.mode in ("host", "none"):
        service.fields["x-routes"].error_at_key(f"has no place with network_mode {service.mode}")
        return
    if service.routes and service.mode.startswith(("service:", "container:")):
        service.fields["x-routes"].error_at_key(
            "belongs to whoever owns the network stack", f"move it to {service.mode.partition(':')[2]}"
        )
        return
    known: list[IPNetwork] = []
    whole = True  # all subnets are in the file
    for attachment in service.attachments:
        network = networks.get(attachment.key)
        subnets = [pool.subnet for pool, _ in network.pools if pool.subnet is not None] if network else []
        whole = whole and bool(subnets)
        known += subnets
    for route, value in service.routes:
        if (
            route.via is not None
            and whole
            and not route.via.is_link_local
            and not any(route.via in net for net in known)
        ):
            value.error(
                f'the gateway {route.via} is on none of the networks of "{service.name}" ({_listed(known)})',
                "a gateway must be a neighbour",
            )


# --- modes and order ----------------------------------------------------------------------------------


def _mode(service: Service, services: Services) -> None:
    if service.ports and service.mode in ("host", "none"):
        service.fields["ports"].warn(f"has no effect with network_mode {service.mode}; ignored")
    if service.ports and service.mode.startswith(("service:", "container:")):
        service.fields["ports"].error_at_key(
            f"belongs to whoever owns the network stack, not beside network_mode {service.mode}",
            f"move it to {service.mode.partition(':')[2]}",
        )
    owner = service.mode_service
    if owner and owner not in services:
        service.fields["network_mode"].error(f'there is no service "{owner}"', did_you_mean(owner, services))
    elif owner and not services[owner].replicas:
        service.fields["network_mode"].error(f'service "{owner}" has no containers whose network could be shared')


def _unpublished(service: Service, networks: Networks) -> None:
    """Say that ports are in vain where none of its networks publishes any."""
    on = [networks[one.key] for one in service.attachments if one.key in networks]
    if service.ports and on and not any(one.may_publish for one in on):
        those = ", ".join(f'"{one.key}"' for one in on)
        what = "internal networks, and those of drivers macvlan, ipvlan and p2p, publish nothing"
        service.fields["ports"].warn(f"has no effect on {those} alone: {what}")


def _dependencies(services: Services) -> None:
    edges: dict[str, dict[str, Value]] = {}
    for service in services.values():
        wanted = {name: value for name, (_, value) in service.depends.items()}
        if service.mode_service:
            wanted.setdefault(service.mode_service, service.fields["network_mode"])
        for name, (dependency, value) in service.depends.items():
            if name not in services and dependency.required:
                value.error_at_key(f'there is no service "{name}"', did_you_mean(name, services))
        for name, value in service.owners.items():
            wanted.setdefault(name, value)
            if name not in services:
                value.error(f'there is no service "{name}"', did_you_mean(name, services))
        _ipc(service, services)
        edges[service.name] = {name: value for name, value in wanted.items() if name in services}
    for cycle, value in cycles(edges):
        value.error_at_key(f"a cycle: {' → '.join(cycle)}", "no service of a cycle can start first; cut it somewhere")


def _ipc(service: Service, services: Services) -> None:
    owner = services.get(service.config.ipc_mode.removeprefix("service:"))
    if service.config.ipc_mode.startswith("service:") and owner is not None:
        mode = owner.config.ipc_mode
        if mode != "shareable" and not mode.startswith(("service:", "container:")):
            service.fields["ipc"].error(
                f'service "{owner.name}" keeps its IPC to itself', f"add ipc: shareable to {owner.name}"
            )


def cycles(edges: Mapping[str, Mapping[str, Value]]) -> list[tuple[list[str], Value]]:
    """Find a cycle for every edge that closes one, in one walk; each with that edge's place."""
    found: list[tuple[list[str], Value]] = []
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path, on_path = [start], {start}
        walks = [iter(edges[start].items())]
        while walks:  # not recursive: a chain may be thousands long
            for name, value in walks[-1]:
                if name in on_path and len(found) < MAX_CYCLES:
                    found.append(([*path[path.index(name) :], name], value))
                elif name not in done and name not in on_path:
                    path.append(name)
                    on_path.add(name)
                    walks.append(iter(edges[name].items()))
                    break
            else:
                walks.pop()
                done.add(path[-1])
                on_path.discard(path.pop())
    return found


def uses_default(services: Services) -> bool:
    return any(attachment.key == DEFAULT for service in services.values() for attachment in service.attachments)
