"""Publishing ports of an endpoint: the host's port is held, the firewall sends it, old conversations end.

What the firewall cannot send is relayed by the socket that holds the port.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from drivers.api import Endpoint, PortBinding
from drivers.errors import DriverError, PortInUse
from drivers.firewall import Firewall, NetworkRules, Port, Publication
from drivers.forgetter import Forgetter
from drivers.kernel.errors import KernelError
from drivers.ports import HeldPorts, show
from drivers.relay import Relay
from drivers.ways import ways_of


class Publisher:
    """What a driver whose endpoints the firewall translates needs to publish; safe to use from several threads."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._forgetter = Forgetter()
        self._ports = HeldPorts()
        self._relay = Relay(leads_nowhere=firewall.is_internal)

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
            self._begin_relaying(network, endpoint, published, undo)
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
        held = [one for one in _to_hold(network, endpoint, bindings) if one]
        self._relay.end(self._sockets_of(endpoint, held))
        self._ports.release(endpoint.id, held)
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
        """Hold, and relay, ports that are published already; those held already stay so.

        Returns:
            What somebody else took.
        """
        failures = []
        held = []
        for binding, one in zip(bindings, _to_hold(network, endpoint, bindings), strict=True):
            if one is None:
                continue
            try:
                self._ports.hold(endpoint.id, [one])
                held.append(binding)
            except DriverError as error:
                failures.append(error)
        try:
            self._begin_relaying(network, endpoint, held)
        except DriverError as error:
            failures.append(error)
        return failures

    def settle(self) -> None:
        """Return when the conversations through withdrawn ports have been ended."""
        self._forgetter.settle()

    def close(self) -> None:
        """Let go of the ports; what is published stays so."""
        self._relay.close()
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

    def _begin_relaying(
        self,
        network: NetworkRules,
        endpoint: Endpoint,
        bindings: Sequence[PortBinding],
        undo: ExitStack | None = None,
    ) -> None:
        ways = [ways_of(network, endpoint, binding) for binding in bindings]
        ports = [
            (held, way.relayed)
            for way in ways
            if way.relayed and way.held and (held := self._ports.socket_of(endpoint.id, way.held))
        ]
        if undo is not None:
            undo.callback(self._relay.end, [held for held, _ in ports])
        try:
            self._relay.begin(ports)
        except OSError as error:
            refused = f"cannot relay the published ports: {os.strerror(error.errno or 0)}"
            raise DriverError(refused, kind="unavailable") from error

    def _sockets_of(self, endpoint: Endpoint, bindings: Sequence[PortBinding]) -> list[socket.socket]:
        found = [self._ports.socket_of(endpoint.id, binding) for binding in bindings]
        return [one for one in found if one is not None]

    def _contradiction(self, published: Sequence[PortBinding], ports: Sequence[Port]) -> PortInUse:
        """Which port the firewall sends elsewhere already, or would send to two places."""
        taken = {(one.where, one.key): one for one in self._firewall.published()}
        for one in ports:
            if isinstance(one, Publication) and taken.setdefault((one.where, one.key), one) != one:
                [port, *_] = [port for port in published if port.host_port == one.host_port]
                return PortInUse(show(port), f"what is published for {taken[one.where, one.key].target}")
        return PortInUse(show(published[0]))


def ports_of(network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]) -> list[Port]:
    """What the firewall does for bindings, which may be nothing where all is relayed.

    Raises:
        CannotPublish: No way leads from one of them to the endpoint.
    """
    return [port for binding in bindings for port in ways_of(network, endpoint, binding).ports]


def _to_hold(network: NetworkRules, endpoint: Endpoint, bindings: Sequence[PortBinding]) -> list[PortBinding | None]:
    """For each binding what of the host it takes: None where it is routed to, and no port of the host leads there."""
    return [ways_of(network, endpoint, binding).held for binding in bindings]
