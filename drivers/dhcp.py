"""A DHCP client (RFC 2131, section 4.4), one exchange a call: it asks, waits for the answer and keeps nothing open.

When to call which is told by the lease's times, and is the engine's to watch.
"""

from __future__ import annotations

import os
import random
import secrets
import select
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from drivers.api import Route
from drivers.errors import DriverError
from drivers.kernel import dhcp_message as message
from drivers.kernel.dhcp_message import Answer, Question
from drivers.kernel.dhcp_socket import AddressSocket, LinkSocket, send_for
from drivers.lease import Lease

# A container waits for its start; the four seconds of RFC 2131 section 4.1 would be half of its patience.
_AGAIN_S = 1.0
_AGAIN_MOST_S = 8.0
# A server that is not sure about an address that we had says nothing (section 4.3.2).
_REMEMBERED_S = 3.0
_SMALLEST_MTU = 68  # RFC 791
_DEFAULT_ROUTE = 0
# Where a server says nothing of its own (section 4.4.5).
_RENEWAL, _REBINDING = 0.5, 0.875
_EARLIER = 0.1  # at most by this part, so that not all who began together renew together


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who asks: the same each time, so that a server knows it again.

    Args:
        netns: Where the link is.
        mac: That the link must have; "" is the one that it has.
        client_id: Option 61 as it is on the wire.
    """

    netns: Path
    link: str
    mac: str
    client_id: bytes
    host_name: str = ""


class NoAnswer(DriverError):
    """Nobody said anything in time."""

    kind = "unavailable"


class Refused(DriverError):
    """A server said that the address must not be used any more."""

    kind = "unavailable"


class Stopped(DriverError):
    """Whoever waits was told not to wait any more."""

    kind = "unavailable"


class Stop:
    """Ends all waiting that goes on with it, at once."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        os.eventfd_write(self.descriptor, 1)

    def close(self) -> None:
        os.close(self.descriptor)


def acquire(client: Client, stop: Stop, timeout_s: float, former: Lease | None = None) -> Lease:
    """Get an address.

    Args:
        former: What was had before the link was gone; asked for again if it could still hold.

    Raises:
        NoAnswer, Stopped: No server lent one in time.
    """
    end = time.monotonic() + timeout_s
    with closing(_Talk(client, stop)) as talk:
        if former is not None and not is_over(former):
            lease = talk.remember(former, min(end, time.monotonic() + _REMEMBERED_S))
            if lease is not None:
                return lease
        return talk.discover(end)


def renew(client: Client, lease: Lease, stop: Stop, timeout_s: float) -> Lease:
    """Ask the server that lent an address for more time.

    Raises:
        Refused, NoAnswer, Stopped.
    """
    with closing(_Talk(client, stop, _from_address(lease))) as talk:
        return talk.prolong(lease, time.monotonic() + timeout_s)


def rebind(client: Client, lease: Lease, stop: Stop, timeout_s: float) -> Lease:
    """Ask any server for more time.

    Raises:
        Refused, NoAnswer, Stopped.
    """
    with closing(_Talk(client, stop)) as talk:
        return talk.prolong(lease, time.monotonic() + timeout_s)


def release(lease: Lease, link: str, mac: str, client_id: bytes) -> None:
    """Tell the server that the address is free; there is no answer to that.

    Args:
        link: Of the host, on the same segment: the one that had the address is gone.

    Raises:
        OSError: The link is missing or down.
    """
    question = Question(
        kind="release",
        xid=secrets.randbits(32),
        mac=mac,
        client_id=client_id,
        client_address=lease.address.ip,
        server=lease.server,
        broadcast=False,
    )
    send_for(link, mac, lease.server_mac, lease.address.ip, lease.server, message.pack(question))


def is_over(lease: Lease) -> bool:
    return lease.expires_at is not None and datetime.now(UTC) >= lease.expires_at


# --- one exchange -----------------------------------------------------------------------------


def _from_link(client: Client) -> LinkSocket:
    return LinkSocket(client.netns, client.link)


def _from_address(lease: Lease) -> Callable[[Client], LinkSocket]:
    return lambda client: AddressSocket(client.netns, client.link, lease.address.ip, lease.server)


class _Talk:
    """Questions and answers of one transaction."""

    def __init__(self, client: Client, stop: Stop, speak: Callable[[Client], LinkSocket] = _from_link) -> None:
        try:
            self._channel = speak(client)
        except OSError as error:
            raise NoAnswer(f"cannot speak on link {client.link}: {error}") from error
        mac = self._channel.mac
        if client.mac not in ("", mac):
            self._channel.close()
            raise NoAnswer(f"link {client.link} is another now")
        self._stop = stop
        self._began = time.monotonic()
        self._basis = Question(
            kind="request", xid=secrets.randbits(32), mac=mac, client_id=client.client_id, host_name=client.host_name
        )

    def close(self) -> None:
        self._channel.close()

    def ask(self, question: Question, end: float, fits: Callable[[Answer], bool]) -> tuple[Answer, str] | None:
        """Ask until there is an answer that fits, and say who gave it; None when time is up.

        Args:
            end: Of time.monotonic().
        """
        wait_s = _AGAIN_S
        while (now := time.monotonic()) < end:
            with suppress(OSError):  # the link is down for now: as if it was lost on the way
                self._channel.send(message.pack(replace(question, secs=round(now - self._began))))
            found = self._listen(min(end, now + wait_s * random.uniform(0.9, 1.1)), fits)
            if found is not None:
                return found
            wait_s = min(wait_s * 2, _AGAIN_MOST_S)
        return None

    def _listen(self, end: float, fits: Callable[[Answer], bool]) -> tuple[Answer, str] | None:
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        poll.register(self._stop.descriptor, select.POLLIN)
        while (left_s := end - time.monotonic()) > 0:
            ready = dict(poll.poll(left_s * 1000))
            if self._stop.descriptor in ready:
                raise Stopped("the engine ends")
            if ready:
                found = self._receive(fits)
                if found is not None:
                    return found
        return None

    def _receive(self, fits: Callable[[Answer], bool]) -> tuple[Answer, str] | None:
        try:
            received = self._channel.receive()
        except OSError:
            return None  # the link went down; the kernel says so once
        if received is None:
            return None
        answer = message.unpack(received[0])
        if answer is None or answer.xid != self._basis.xid or answer.mac != self._basis.mac or not fits(answer):
            return None
        return answer, received[1]

    # --- whole conversations ------------------------------------------------------------------

    def discover(self, end: float) -> Lease:
        """Find a server and take what it offers."""
        while True:
            found = self.ask(replace(self._basis, kind="discover"), end, _is_offer)
            if found is None:
                raise NoAnswer("no DHCP server answered")
            offer, _ = found
            with suppress(Refused):
                lease = self.request(replace(self._basis, requested=offer.address, server=offer.server), end)
                if lease is not None:
                    return lease
            self._listen(min(end, time.monotonic() + _AGAIN_S), lambda _: False)  # it changed its mind: not at once

    def remember(self, former: Lease, end: float) -> Lease | None:
        """Have what was had before (INIT-REBOOT); None: it is another's, or nobody knows."""
        with suppress(Refused):
            return self.request(replace(self._basis, requested=former.address.ip), end)
        return None

    def prolong(self, lease: Lease, end: float) -> Lease:
        """Have for longer what one has."""
        longer = self.request(replace(self._basis, client_address=lease.address.ip, broadcast=False), end)
        if longer is None:
            raise NoAnswer(f"no DHCP server prolongs {lease.address.ip}")
        return longer

    def request(self, question: Question, end: float) -> Lease | None:
        """Have it said that an address may be used.

        Raises:
            Refused: It may not.
        """

        def decides(answer: Answer) -> bool:
            return question.server in (None, answer.server) and (answer.kind == "nak" or _is_lease(answer))

        asked_at = datetime.now(UTC)
        found = self.ask(question, end, decides)
        if found is None:
            return None
        answer, server_mac = found
        if answer.kind == "nak":
            said = f": {answer.text}" if answer.text else ""
            raise Refused(f"the DHCP server refuses {question.client_address or question.requested}{said}")
        lease = _lease(answer, server_mac, asked_at)
        # A sub-link can have no more than its parent has.
        return replace(lease, mtu=0) if lease.mtu > self._channel.mtu else lease


# --- from an answer to a lease ------------------------------------------------------------------


def _is_offer(answer: Answer) -> bool:
    return answer.kind == "offer" and answer.server is not None and _is_usable(answer.address)


def _is_lease(answer: Answer) -> bool:
    return answer.kind == "ack" and answer.lease_s != 0 and answer.server is not None and _is_usable(answer.address)


def _is_usable(address: IPv4Address) -> bool:
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_reserved)


def _lease(answer: Answer, server_mac: str, asked_at: datetime) -> Lease:
    """Args:
    asked_at: When the question was sent that was answered: that is when the time begins (section 4.4.5).
    """
    assert answer.server is not None
    renews, rebinds, expires = _times(answer)
    # Whoever sends classless routes means them alone (RFC 3442).
    defaults = [via for destination, via in answer.routes if destination.prefixlen == _DEFAULT_ROUTE]
    gateways = defaults if answer.routes else list(answer.routers)
    return Lease(
        address=IPv4Interface((answer.address, _prefix_length(answer))),
        server=answer.server,
        server_mac=server_mac,
        renews_at=_after(asked_at, renews),
        rebinds_at=_after(asked_at, rebinds),
        expires_at=_after(asked_at, expires),
        gateway=gateways[0] if gateways else None,
        routes=tuple(
            Route(destination=destination, via=via)
            for destination, via in answer.routes
            if destination.prefixlen != _DEFAULT_ROUTE or via is None
        ),
        name_servers=answer.name_servers,
        search=answer.search,
        mtu=answer.mtu if answer.mtu >= _SMALLEST_MTU else 0,
    )


def _times(answer: Answer) -> tuple[float | None, float | None, float | None]:
    """T1, T2 and the end, in seconds."""
    if answer.lease_s is None:
        return None, None, None
    whole = float(answer.lease_s)
    rebinds = answer.rebinding_s or whole * _REBINDING
    if rebinds >= whole:
        rebinds = whole * _REBINDING
    renews = answer.renewal_s or whole * _RENEWAL
    if renews >= rebinds:
        renews = min(whole * _RENEWAL, rebinds)
    return renews * random.uniform(1 - _EARLIER, 1), rebinds, whole


def _after(start: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else start + timedelta(seconds=seconds)


def _prefix_length(answer: Answer) -> int:
    """The mask's; a server that sends none means the class of old, as everybody's client has it."""
    if answer.mask is not None:
        bits = int(answer.mask)
        length = bits.bit_count()
        if bits == (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF and length:
            return length
    first = answer.address.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24
