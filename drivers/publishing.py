"""Publishing ports of an endpoint: the host's port is held, the firewall sends it, old conversations end."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from drivers.api import Endpoint, IPAddress, PortBinding
from drivers.errors import CannotPublish, DriverError, PortInUse
from drivers.firewall import Firewall, NetworkRules, Opening, Port, Publication
from drivers.forgetter import Forgetter
from drivers.kernel.errors import KernelError
from drivers.ports import HeldPorts, show

_EVERYWHERE: dict[int, IPAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


class Publisher:
    """What a driver whose endpoints the firewall translates needs to publish; safe to use from several threads."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._forgetter = Forgetter()
        self._ports = HeldPorts()

    def publish(
        self, network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]
    ) -> tuple[PortBinding, ...]:
        """Publish all, or none, and say which host ports they got.

        Raises:
            CannotPublish: No rule can serve a binding.
            PortInUse: Somebody else has a port.
        """
        ports_of(network, endpoint, bindings)  # raises before anything is held
        with ExitStack() as undo:
            published = self._hold(network, endpoint, bindings, undo)
            ports = ports_of(network, endpoint, published)
            try:
                self._firewall.publish(ports)
            except KernelError as error:
                if error.errno == errno.EEXIST:
                    raise self._contradiction(published, ports) from error
                raise
            undo.pop_all()
        self._forgetter.published(ports)
        return published

    def unpublish(self, network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]) -> None:
        """Withdraw ports. Conversations through them end soon after, see settle()."""
        ports = ports_of(network, endpoint, bindings)
        self._firewall.unpublish(ports)
        self._ports.release(endpoint.id, [one for one in _to_hold(network, endpoint, bindings) if one])
        self._forgetter.withdraw(ports)

    def shut(self, ports: Sequence[Port]) -> None:
        """Close what was only opened, at the endpoint's own addresses."""
        if not ports:
            return
        self._firewall.unpublish(ports)
        self._forgetter.withdraw(ports)

    def hold_again(
        self, network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]
    ) -> list[DriverError]:
        """Hold ports that are published already; those held already stay so. Returns what somebody else took."""
        failures = []
        for one in _to_hold(network, endpoint, bindings):
            if one is None:
                continue
            try:
                self._ports.hold(endpoint.id, [one])
            except DriverError as error:
                failures.append(error)
        return failures

    def settle(self) -> None:
        """Return when the conversations through withdrawn ports have been ended."""
        self._forgetter.settle()

    def close(self) -> None:
        """Let go of the ports; what is published stays so."""
        self._ports.close()
        self._forgetter.close()

    def _hold(
        self, network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding], undo: ExitStack
    ) -> tuple[PortBinding, ...]:
        wanted = _to_hold(network, endpoint, bindings)
        held = iter(self._ports.hold(endpoint.id, [one for one in wanted if one], undo))
        return tuple(
            replace(binding, host_port=next(held).host_port if one else 0, host_port_end=0)
            for binding, one in zip(bindings, wanted, strict=True)
        )

    def _contradiction(self, published: Sequence[PortBinding], ports: Sequence[Port]) -> PortInUse:
        """Which port the firewall sends elsewhere already, or would send to two places."""
        taken = {(one.where, one.key): one for one in self._firewall.published()}
        for one in ports:
            if isinstance(one, Publication) and taken.setdefault((one.where, one.key), one) != one:
                [port, *_] = [port for port in published if port.host_port == one.host_port]
                return PortInUse(show(port), f"what is published for {taken[one.where, one.key].target}")
        return PortInUse(show(published[0]))


def ports_of(network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]) -> list[Port]:
    """Each binding in each family that both its host address and the endpoint have.

    Raises:
        CannotPublish: A binding has none.
    """
    return [one for binding in bindings for one in _ports(network, endpoint, binding)]


def _ports(network: NetworkRules, endpoint: Endpoint, binding: PortBinding) -> list[Port]:
    wanted = binding.host_address
    if wanted is not None and wanted.version == 6 and wanted.is_loopback:
        raise CannotPublish(
            f"cannot publish {show(binding)}: the kernel does not translate what is sent to ::1",
            hint="publish on 127.0.0.1, or on another IPv6 address of the host",
        )
    families = _families(endpoint, binding)
    if not families:
        family = "address" if wanted is None else f"IPv{wanted.version} address"
        raise CannotPublish(
            f"cannot publish {show(binding)}: the endpoint has no {family}",
            hint="" if wanted is None else f"publish on an IPv{10 - wanted.version} address of the host",
        )
    found: list[Port] = []
    for address in endpoint.addresses:
        if address.version not in families:
            continue
        if address.version not in network.routed:
            found.append(
                Publication(
                    protocol=binding.protocol,
                    host_port=binding.host_port,
                    target=address.ip,
                    target_port=binding.container_port,
                    host_address=None if wanted is None or wanted.is_unspecified else wanted,
                )
            )
        elif wanted is not None and wanted.is_loopback:
            raise CannotPublish(
                f"cannot publish {show(binding)}: the network is routed to, so no port of the host leads there",
                hint="leave the host's address out",
            )
        direct = network.trusted or network.open_to_all
        if address.version in network.routed or (direct and not (wanted and wanted.is_loopback)):
            found.append(Opening(protocol=binding.protocol, target=address.ip, target_port=binding.container_port))
    return found


def _to_hold(network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]) -> list[PortBinding | None]:
    """For each binding what of the host it takes: None where it is routed to, and no port of the host leads there."""
    return [_part_to_hold(network, endpoint, binding) for binding in bindings]


def _part_to_hold(network: NetworkRules, endpoint: Endpoint, binding: PortBinding) -> PortBinding | None:
    families = _families(endpoint, binding)
    translated = [family for family in families if family not in network.routed]
    if not translated:
        return None
    if binding.host_address is None and len(translated) < len(families):
        return replace(binding, host_address=_EVERYWHERE[translated[0]])
    return binding


def _families(endpoint: Endpoint, binding: PortBinding) -> list[int]:
    wanted = binding.host_address
    return [one.version for one in endpoint.addresses if wanted is None or wanted.version == one.version]
