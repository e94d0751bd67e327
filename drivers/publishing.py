"""Publishing ports of an endpoint: the host's port is held, the firewall sends it, old conversations end.

What the firewall cannot send is relayed by the socket that holds the port.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from drivers.api import Endpoint, PortBinding
from drivers.elements import Port, Publication
from drivers.errors import DriverError, PortInUse
from drivers.firewall import Firewall
from drivers.forgetter import Forgetter
from drivers.kernel.errors import KernelError
from drivers.network_rules import NetworkRules
from drivers.ports import HeldPorts, show
from drivers.relay import Relay
from drivers.ways import Ways, check_ways, ports_in, ways_of


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
        ways = ways_of(network, endpoint, bindings)
        check_ways(network, endpoint, bindings, ways)
        with ExitStack() as undo:
            published = self._hold(endpoint, bindings, ways, undo)
            if published != tuple(bindings):
                ways = ways_of(network, endpoint, published)
            self._begin_relaying(endpoint, ways, undo)
            ports = ports_in(ways)
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
        ways = ways_of(network, endpoint, bindings)
        ports = ports_in(ways)
        self._firewall.unpublish(ports)
        held = [way.held for way in ways if way.held is not None]
        self._relay.end(filter(None, self._ports.sockets_of(endpoint.id, held)))
        self._ports.release(endpoint.id, held)
        self._forgetter.withdraw(ports, last=not self._ports.holds(endpoint.id))

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
        for way in ways_of(network, endpoint, bindings):
            if way.held is None:
                continue
            try:
                self._ports.hold(endpoint.id, [way.held])
                held.append(way)
            except DriverError as error:
                failures.append(error)
        try:
            self._begin_relaying(endpoint, held)
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
        self, endpoint: Endpoint, bindings: Sequence[PortBinding], ways: Sequence[Ways], undo: ExitStack
    ) -> tuple[PortBinding, ...]:
        held = iter(self._ports.hold(endpoint.id, [way.held for way in ways if way.held], undo))
        got = ((one, next(held).host_port if way.held else 0) for one, way in zip(bindings, ways, strict=True))
        return tuple(_at(binding, port) for binding, port in got)

    def _begin_relaying(self, endpoint: Endpoint, ways: Sequence[Ways], undo: ExitStack | None = None) -> None:
        wanted = [(way.held, way.relayed) for way in ways if way.held and way.relayed]
        sockets = self._ports.sockets_of(endpoint.id, (held for held, _ in wanted))
        ports = [(held, relayed) for held, (_, relayed) in zip(sockets, wanted, strict=True) if held is not None]
        if undo is not None:
            undo.callback(self._relay.end, [held for held, _ in ports])
        try:
            self._relay.begin(ports)
        except OSError as error:
            refused = f"cannot relay the published ports: {os.strerror(error.errno or 0)}"
            raise DriverError(refused, kind="unavailable") from error

    def _contradiction(self, published: Sequence[PortBinding], ports: Sequence[Port]) -> PortInUse:
        """Which port the firewall sends elsewhere already, or would send to two places."""
        taken = {(one.where, one.key): one for one in self._firewall.published()}
        for one in ports:
            if isinstance(one, Publication) and taken.setdefault((one.where, one.key), one) != one:
                [port, *_] = [port for port in published if port.host_port == one.host_port]
                return PortInUse(show(port), f"what is published for {taken[one.where, one.key].target}")
        return PortInUse(show(published[0]))


def _at(binding: PortBinding, port: int) -> PortBinding:
    if binding.host_port == port and not binding.host_port_end:
        return binding
    return replace(binding, host_port=port, host_port_end=0)
