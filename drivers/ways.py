"""Which ways lead from a port of the host to a container: translated by the kernel, relayed, or none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, cast

from drivers.api import Endpoint, IPAddress, PortBinding
from drivers.elements import Opening, Port, Publication
from drivers.errors import CannotPublish
from drivers.network_rules import NetworkRules
from drivers.ports import has_dual_stack, show
from drivers.relayed import Relayed

_EVERYWHERE: dict[int, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What becomes of one binding.

    Args:
        ports: What the firewall translates, or opens at the endpoint's own address.
        relayed: What the firewall cannot.
        held: What of the host it takes; None where no port of the host leads there.
    """

    ports: tuple[Port, ...]
    relayed: Relayed | None
    held: PortBinding | None

    @property
    def none(self) -> bool:
        return not self.ports and self.relayed is None


def ways_of(network: NetworkRules, endpoint: Endpoint, bindings: Iterable[PortBinding]) -> list[Ways]:
    """For each binding, each way in each family of the host's addresses that it speaks of; it may have none."""
    addresses = [one.ip for one in endpoint.addresses]
    return [_ways_of(network, addresses, binding) for binding in bindings]


def check_ways(
    network: NetworkRules, endpoint: Endpoint, bindings: Iterable[PortBinding], ways: Iterable[Ways]
) -> None:
    """Raise CannotPublish if a binding has no way at all, or one that would have to lead into a VRF."""
    for binding, found in zip(bindings, ways, strict=True):
        if found.none:
            raise _refusal(network, [one.ip for one in endpoint.addresses], binding)
        if network.vrf and found.held is not None:
            raise CannotPublish(
                f"cannot publish {show(binding)}: the network is in the VRF {network.vrf}, and the host is not",
                hint="let the network be routed to (gateway mode routed): its ports are then reached inside the VRF",
            )


def ports_in(ways: Iterable[Ways]) -> list[Port]:
    """All that is the firewall's."""
    return [port for way in ways for port in way.ports]


def _ways_of(network: NetworkRules, addresses: Sequence[IPAddress], binding: PortBinding) -> Ways:
    ports = _ports(network, addresses, binding)
    relayed = _relayed(network, addresses, binding)
    return Ways(ports=ports, relayed=relayed, held=_held(network, addresses, binding, relayed))


def _ports(network: NetworkRules, addresses: Sequence[IPAddress], binding: PortBinding) -> tuple[Port, ...]:
    wanted = binding.host_address
    loopback = wanted is not None and wanted.is_loopback
    found: list[Port] = []
    for address in _of_the_same_family(addresses, binding):
        routed = address.version in network.routed
        if not routed and not _is_loopback6(binding):
            found.append(
                Publication(
                    protocol=binding.protocol,
                    host_port=binding.host_port,
                    target=address,
                    target_port=binding.container_port,
                    host_address=None if wanted is None or wanted.is_unspecified else wanted,
                )
            )
        if not loopback and (routed or network.trusted or network.open_to_all):
            found.append(Opening(protocol=binding.protocol, target=address, target_port=binding.container_port))
    return tuple(found)


def _relayed(network: NetworkRules, addresses: Sequence[IPAddress], binding: PortBinding) -> Relayed | None:
    targets = {one.version: one for one in addresses if one.version not in network.routed}
    if not targets or binding.protocol == "sctp" or not network.relays:
        return None
    wanted = binding.host_address
    asked = [wanted.version] if wanted is not None else [4, 6] if has_dual_stack() else [4]
    # A family that the endpoint has is translated or routed to, and no other way leads there.
    versions = [one.version for one in addresses]
    family = next((one for one in asked if one not in versions), None)
    # Where all of the host's IPv6 addresses are asked for, ::1 is one of them.
    loopback = 6 in asked and (wanted is None or wanted.is_unspecified) and (6 in targets or family == 6)
    if _is_loopback6(binding):
        family, loopback = None, True
    if network.internal and (family == 6 or not (wanted is None or wanted.is_unspecified or wanted.is_loopback)):
        family = None  # the host's loopback addresses are all that the host alone can ask at
    if family is None and not loopback:
        return None
    target = targets.get(6) or targets[4]
    return Relayed(
        protocol=binding.protocol,
        host_port=binding.host_port,
        target=target,
        target_port=binding.container_port,
        family=cast("Literal[4, 6] | None", family),
        host_address=None if wanted is None or wanted.is_unspecified else wanted,
        host_only=network.internal,
    )


def _held(
    network: NetworkRules, addresses: Sequence[IPAddress], binding: PortBinding, relayed: Relayed | None
) -> PortBinding | None:
    families = [one.version for one in _of_the_same_family(addresses, binding)]
    translated = [family for family in families if family not in network.routed]
    if not translated:
        return binding if relayed is not None else None
    if binding.host_address is None and len(translated) < len(families):
        return replace(binding, host_address=_EVERYWHERE[translated[0]])
    return binding


def _of_the_same_family(addresses: Sequence[IPAddress], binding: PortBinding) -> Sequence[IPAddress]:
    wanted = binding.host_address
    return addresses if wanted is None else [one for one in addresses if one.version == wanted.version]


def _is_loopback6(binding: PortBinding) -> bool:
    return binding.host_address is not None and binding.host_address.version == 6 and binding.host_address.is_loopback


def _refusal(network: NetworkRules, addresses: Sequence[IPAddress], binding: PortBinding) -> CannotPublish:
    wanted = binding.host_address
    if any(one.version in network.routed for one in _of_the_same_family(addresses, binding)):
        return CannotPublish(
            f"cannot publish {show(binding)}: the network is routed to, so no port of the host leads there",
            hint="leave the host's address out",
        )
    why = "and we relay no SCTP" if binding.protocol == "sctp" else "and nothing is to be relayed"
    if _is_loopback6(binding) and (binding.protocol == "sctp" or not network.relays):
        return CannotPublish(
            f"cannot publish {show(binding)}: the kernel does not translate what is sent to ::1, {why}",
            hint="publish on 127.0.0.1, or on another IPv6 address of the host",
        )
    family = "address" if wanted is None else f"IPv{wanted.version} address"
    return CannotPublish(
        f"cannot publish {show(binding)}: the endpoint has no {family}"
        + (f", {why}" if addresses and not network.relays else ""),
        hint="" if wanted is None else f"publish on an IPv{10 - wanted.version} address of the host",
    )
