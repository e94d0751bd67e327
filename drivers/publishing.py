"""Publishing ports of an endpoint: the host's port is held, the firewall sends it, old conversations end."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import ExitStack

from drivers.api import Endpoint, PortBinding
from drivers.errors import CannotPublish, DriverError, PortInUse
from drivers.firewall import Firewall, Publication
from drivers.forgetter import Forgetter
from drivers.kernel.errors import KernelError
from drivers.ports import HeldPorts, show


class Publisher:
    """What a driver whose endpoints the firewall translates needs to publish; safe to use from several threads."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall
        self._forgetter = Forgetter()
        self._ports = HeldPorts()

    def publish(self, endpoint: Endpoint, ports: Sequence[PortBinding]) -> tuple[PortBinding, ...]:
        """Publish all, or none, and say which host ports they got.

        Raises:
            CannotPublish: No rule can serve a binding.
            PortInUse: Somebody else has a port.
        """
        publications_of(endpoint, ports)  # raises before anything is held
        with ExitStack() as undo:
            held = self._ports.hold(endpoint.id, ports, undo)
            publications = publications_of(endpoint, held)
            try:
                self._firewall.publish(publications)
            except KernelError as error:
                if error.errno == errno.EEXIST:
                    raise self._contradiction(held, publications) from error
                raise
            undo.pop_all()
        self._forgetter.published(publications)
        return held

    def unpublish(self, endpoint: Endpoint, ports: Sequence[PortBinding]) -> None:
        """Withdraw ports. Conversations through them end soon after, see settle()."""
        publications = publications_of(endpoint, ports)
        self._firewall.unpublish(publications)
        self._ports.release(endpoint.id, ports)
        self._forgetter.withdraw(publications)

    def hold_again(self, endpoint: Endpoint, ports: Sequence[PortBinding]) -> list[DriverError]:
        """Hold ports that are published already; those held already stay so. Returns what somebody else took."""
        failures = []
        for port in ports:
            try:
                self._ports.hold(endpoint.id, [port])
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

    def _contradiction(self, held: Sequence[PortBinding], publications: Sequence[Publication]) -> PortInUse:
        """Which port the firewall sends elsewhere already, or would send to two places."""
        taken = {(one.map, one.key): one for one in self._firewall.published()}
        for one in publications:
            if taken.setdefault((one.map, one.key), one) != one:
                [port, *_] = [port for port in held if port.host_port == one.host_port]
                return PortInUse(show(port), f"what is published for {taken[one.map, one.key].target}")
        return PortInUse(show(held[0]))


def publications_of(endpoint: Endpoint, ports: Sequence[PortBinding]) -> list[Publication]:
    """Each binding in each family that both its host address and the endpoint have.

    Raises:
        CannotPublish: A binding has none.
    """
    return [one for port in ports for one in _publications(endpoint, port)]


def _publications(endpoint: Endpoint, port: PortBinding) -> list[Publication]:
    wanted = port.host_address
    if wanted is not None and wanted.version == 6 and wanted.is_loopback:
        raise CannotPublish(
            f"cannot publish {show(port)}: the kernel does not translate what is sent to ::1",
            hint="publish on 127.0.0.1, or on another IPv6 address of the host",
        )
    targets = [one.ip for one in endpoint.addresses if wanted is None or wanted.version == one.version]
    if not targets:
        family = "address" if wanted is None else f"IPv{wanted.version} address"
        raise CannotPublish(
            f"cannot publish {show(port)}: the endpoint has no {family}",
            hint="" if wanted is None else f"publish on an IPv{10 - wanted.version} address of the host",
        )
    return [
        Publication(
            protocol=port.protocol,
            host_port=port.host_port,
            target=target,
            target_port=port.container_port,
            host_address=None if wanted is None or wanted.is_unspecified else wanted,
        )
        for target in targets
    ]
