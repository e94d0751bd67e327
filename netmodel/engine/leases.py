"""Addresses that DHCP servers lend: asked for when a link comes up, kept while it is there, given back at the end.

A lease is in its endpoint's record, and the endpoint speaks with the same MAC address and client id as
long as it exists. So it has the same address again after a stop (the server is asked whether it still
may), and an engine that starts goes on where the last one ended. Nobody waits for a server while it
holds more than its own container's lock, and shares its networks'.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from drivers import dhcp
from drivers.api import Attachment
from drivers.dhcp import Client, NoAnswer, Refused, Stop, Stopped
from drivers.errors import DriverError
from drivers.lease import Lease
from netmodel.engine.core import Core
from netmodel.engine.routing import Joined
from netmodel.engine.timetable import Timetable
from netmodel.errors import Unavailable
from netmodel.model import Container, Endpoint, Network

log = logging.getLogger("netmodel")

# What a start may wait for a server.
PATIENCE_S = 10.0
_RENEWAL_S = 4.0  # what a renewal may, before it is tried again later
_AGAIN_S = 60.0  # RFC 2131, section 4.4.5: the least time between two renewals
_FOREVER_S = 1e9  # thirty years
_ANEW_S = 10.0  # between two searches for a server, where there was none


class Leases:
    """Every lease that is in use. Whoever calls holds the container's lock."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._timetable = Timetable("lease")
        self._changed: Callable[[Endpoint, Endpoint], None] = lambda before, after: None
        self._guard = threading.Condition()
        self._kept: dict[str, Path] = {}  # by endpoint: the namespace that its link is in
        self._asking: list[tuple[str, Stop]] = []  # for which endpoint somebody waits for a server
        self._over = False
        self._working = 0

    def open(self, changed: Callable[[Endpoint, Endpoint], None]) -> None:
        """Begin to renew; what is due already is done at once.

        Args:
            changed: Told of an endpoint as it was and as it is in its record now; its container's lock is held.
        """
        self._changed = changed
        self._timetable.open(self._tend)

    def stop(self) -> None:
        """End all waiting for servers; the leases run on."""
        with self._guard:
            self._over = True
            for _, stop in self._asking:
                stop.set()
        self._timetable.close()
        with self._guard:
            self._guard.wait_for(lambda: not self._working)

    # --- while the container's lock is held --------------------------------------------------------

    def obtain(self, container: Container, link: Joined, netns: Path) -> Joined:
        """Have an address lent to a link that is up, note it in the record, and keep it.

        Raises:
            Unavailable: No server answers; nothing is changed then.
        """
        endpoint = link.endpoint
        try:
            with self._stoppable(endpoint.id) as stop:
                lease = dhcp.acquire(_client(container, endpoint, netns), stop, PATIENCE_S, endpoint.lease)
        except NoAnswer as error:
            if endpoint.lease is None or dhcp.is_over(endpoint.lease):
                raise self._told(link.network, error) from error
            lease = endpoint.lease  # it is ours until it ends, whoever is there (RFC 2131, section 3.2)
        after = leased(endpoint, lease)
        self._core.records.put(after)
        self.keep(after, netns)
        return replace(
            link, endpoint=after, attachment=with_lease(link.attachment, lease, link.network.config.internal)
        )

    def keep(self, endpoint: Endpoint, netns: Path) -> None:
        """Renew it in time, until it is forgotten."""
        with self._guard:
            self._kept[endpoint.id] = netns
        self._timetable.set(endpoint.id, _wait_s(endpoint.lease))

    def forget(self, endpoint_id: str) -> None:
        """Its link goes out of service; the lease itself stays what it is."""
        with self._guard:
            self._kept.pop(endpoint_id, None)
            for asking, stop in self._asking:
                if asking == endpoint_id:
                    stop.set()  # its socket keeps the namespace alive, and the link in it
        self._timetable.cancel(endpoint_id)

    def release(self, endpoint: Endpoint, network: Network) -> None:
        """Tell the server that the address is free again.

        Its link is gone, or never was there since the container stopped; so the host says it, out of its own.
        """
        lease = endpoint.lease
        if lease is None or dhcp.is_over(lease):
            return
        # Nobody answers, and a lease that nobody gives back ends all the same.
        with suppress(OSError, DriverError):
            link = self._segment(network)
            mac = endpoint.mac or getattr(self._core.host.link(link), "mac", "")
            dhcp.release(lease, link, mac, _client_id(endpoint))

    def _segment(self, network: Network) -> str:
        return self._core.segment(network.config, self._core.options(network.config))

    def _told(self, network: Network, error: NoAnswer) -> Unavailable:
        what = "bridge" if network.config.driver == "bridge" else "parent"
        return Unavailable(
            f"{error} on {what} {self._segment(network)} within {PATIENCE_S:.0f} s",
            f"see that one serves the segment of network {network.name} and has addresses left",
        )

    @contextmanager
    def _stoppable(self, endpoint_id: str) -> Iterator[Stop]:
        """What ends the waiting of who asks for an endpoint."""
        stop = Stop()
        with self._guard:
            self._asking.append((endpoint_id, stop))
            if self._over:
                stop.set()
        try:
            yield stop
        finally:
            with self._guard:
                self._asking.remove((endpoint_id, stop))
            stop.close()

    # --- in a thread of its own, without any lock ------------------------------------------------

    def _tend(self, endpoint_id: str) -> None:
        """Do what is due for one lease."""
        with self._at_work(), suppress(Stopped):
            try:
                self._attend(endpoint_id)
            except Stopped:
                raise
            except Exception as error:
                log.warning("the lease of endpoint %s is not looked after: %s", endpoint_id[:12], error)
                self._again(endpoint_id, _ANEW_S)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._guard:
            self._working += 1
        try:
            yield
        finally:
            with self._guard:
                self._working -= 1
                self._guard.notify_all()

    def _attend(self, endpoint_id: str) -> None:
        endpoint = self._core.records.endpoint(endpoint_id)
        container = self._core.records.containers.get(endpoint.container_id) if endpoint is not None else None
        netns = self._kept.get(endpoint_id)
        if endpoint is None or container is None or netns is None:
            return  # it left just now
        lease = endpoint.lease
        try:
            if lease is not None and dhcp.is_over(lease):
                raise Refused(f"the lease of {lease.address.ip} is over")
            with self._stoppable(endpoint_id) as stop:
                now = _asked(_client(container, endpoint, netns), lease, stop)
        except NoAnswer:
            self._again(endpoint_id, _ANEW_S if lease is None else _retry_s(lease))
        except Refused as error:
            log.warning("container %s: %s", container.name, error)
            # It must not be used for another moment; then another is looked for.
            self._settle(endpoint, None)
        else:
            self._settle(endpoint, now)

    def _settle(self, before: Endpoint, lease: Lease | None) -> None:
        """Make what a server said true."""
        with self._core.locks.containers([before.container_id]):
            current = self._core.records.endpoint(before.id)
            netns = self._kept.get(before.id)
            if current is None or netns is None or current.lease != before.lease:
                return  # it left meanwhile
            after = leased(current, lease)
            self._core.records.put(after)
            try:
                self._changed(current, after)
            finally:
                self.keep(after, netns)

    def _again(self, endpoint_id: str, wait_s: float) -> None:
        with self._guard:
            if endpoint_id in self._kept:
                self._timetable.set(endpoint_id, wait_s)


def leased(endpoint: Endpoint, lease: Lease | None) -> Endpoint:
    """An endpoint with the address that is lent to it now."""
    return replace(endpoint, lease=lease, addresses=() if lease is None else (lease.address,))


def with_lease(attachment: Attachment, lease: Lease | None, internal: bool) -> Attachment:
    """What a driver said of a link, and what its server says of it."""
    if lease is None:
        return attachment
    outside = attachment.leads_outside and not internal
    return replace(
        attachment,
        gateways=(lease.gateway,) if lease.gateway is not None and outside else (),
        routes=lease.routes if outside else (),
        # The smaller one reaches everybody on the segment.
        mtu=min(mtu for mtu in (attachment.mtu, lease.mtu) if mtu) if attachment.mtu or lease.mtu else 0,
    )


def _asked(client: Client, lease: Lease | None, stop: Stop) -> Lease:
    """What a server says of a lease that is due, or lends where there is none."""
    if lease is None:
        return dhcp.acquire(client, stop, PATIENCE_S)
    if lease.rebinds_at is not None and datetime.now(UTC) >= lease.rebinds_at:
        return dhcp.rebind(client, lease, stop, _until(lease.expires_at))
    return dhcp.renew(client, lease, stop, _until(lease.rebinds_at))


def _client(container: Container, endpoint: Endpoint, netns: Path) -> Client:
    return Client(
        netns=netns,
        link=endpoint.interface,
        mac=endpoint.mac,
        client_id=_client_id(endpoint),
        host_name=container.config.hostname or container.name,
    )


def _client_id(endpoint: Endpoint) -> bytes:
    """The MAC address, as administrators write it down; the endpoint's own id where several have the same."""
    if endpoint.mac:
        return b"\x01" + bytes.fromhex(endpoint.mac.replace(":", ""))
    return b"\x00" + bytes.fromhex(endpoint.id[:32])


def _wait_s(lease: Lease | None) -> float:
    """Until something is to be done."""
    if lease is None:
        return 0.0
    return max(_left_s(lease.renews_at), 0.0)


def _retry_s(lease: Lease) -> float:
    """Half of what is left until others are asked, or all is over (RFC 2131, section 4.4.5)."""
    left_s = _left_s(lease.rebinds_at)
    if left_s <= 0:
        left_s = _left_s(lease.expires_at)
    return max(min(left_s, max(left_s / 2, _AGAIN_S)), 0.0)


def _until(end: datetime | None) -> float:
    return min(max(_left_s(end), 0.1), _RENEWAL_S)


def _left_s(when: datetime | None) -> float:
    return _FOREVER_S if when is None else (when - datetime.now(UTC)).total_seconds()
