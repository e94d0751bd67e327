"""Asking one question from one sandbox until something answers or the time is up.

Nothing here waits for a fixed time: an answer, an ICMP error, a sighting at the target or a change of
the sandbox's links, addresses and routes ends the wait. The timer between two attempts is a
retransmission timer, 50 ms and doubling, as any protocol over a lossy network needs one.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time

from netmodel.probe import icmp_error, sandbox
from netmodel.probe.icmp_error import IcmpError
from netmodel.probe.probe import Answer, IPAddress, Probe
from netmodel.probe.tap import Tap

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.4
# A datagram that was delivered may still be answered; a reply says more than a sighting.
GRACE_S = 0.1
# Two refusals in a row are no passing trouble (a neighbour being resolved, a route being set).
REFUSALS = 2


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What was asked and what came of it.

    Args:
        source: The address it left from; None when it could not leave.
        refusal: Why the sandbox's own kernel would not send it, or "".
        rtt_s: From the answered question to its answer.
    """

    target: IPAddress
    noun: str
    source: IPAddress | None = None
    sent: int = 0
    answer: Answer | None = None
    sighted: bool = False
    errors: list[IcmpError] = field(default_factory=list)
    refusal: str = ""
    rtt_s: float = 0.0
    took_s: float = 0.0

    @property
    def reached(self) -> bool:
        return self.sighted or (self.answer is not None and self.answer.reached)

    @property
    def last_error(self) -> IcmpError | None:
        return self.errors[-1] if self.errors else None


async def ask(
    netns: Path | None,
    probe: Probe,
    target: IPAddress,
    *,
    within_s: float,
    tap: Tap | None = None,
    sighting_counts: bool = False,
    patient: bool = True,
) -> Exchange:
    """Put the question until it is answered or within_s is over.

    Args:
        tap: Watches the target for this very probe.
        sighting_counts: Delivery at the target is reaching it, answer or not.
        patient: A RST or an ICMP error may pass: a server starts, a route comes. Impatient, the
            first RST or a repeated refusal ends it.
    """
    exchange = Exchange(target=target, noun=probe.noun)
    began = monotonic()
    try:
        with _Attempts(netns, probe, target, exchange) as attempts:
            await _until_answered(attempts, exchange, began + within_s, tap if sighting_counts else None, patient)
    finally:
        exchange.took_s = monotonic() - began
        if sighting_counts and tap is not None:
            exchange.sighted = tap.delivered > 0 and not _rejected_by_target(exchange)
    return exchange


async def _until_answered(
    attempts: _Attempts, exchange: Exchange, deadline: float, tap: Tap | None, patient: bool
) -> None:
    pause = FIRST_PAUSE_S
    while True:
        attempts.try_once()
        watched = tap if not exchange.errors else None
        left_s = max(0.0, deadline - monotonic())
        changed = await attempts.wait(min(pause, left_s), watched, stop_at_error=not patient)
        if exchange.answer is not None and (exchange.answer.reached or not patient):
            return
        if tap is not None and tap.delivered and not _rejected_by_target(exchange):
            await attempts.wait(GRACE_S, None, stop_at_error=True)
            return
        if not patient and _refused(exchange):
            return
        if monotonic() >= deadline:
            return
        if not changed:
            pause = min(pause * 2, LONGEST_PAUSE_S)


def _refused(exchange: Exchange) -> bool:
    if exchange.refusal:
        return True
    return sum(error.final for error in exchange.errors) >= REFUSALS


def _rejected_by_target(exchange: Exchange) -> bool:
    """The datagram got there, but no socket is bound to the port."""
    return any(error.words == "port unreachable" and error.sender == exchange.target for error in exchange.errors)


def in_words(error: OSError, target: IPAddress) -> str:
    match error.errno:
        case errno.ENETUNREACH:
            return f"it has no route to {target}"
        case errno.EHOSTUNREACH:
            return f"its routes say that {target} is unreachable"
        case errno.EPERM:
            return "its own firewall drops what it sends"
        case errno.EACCES | errno.EINVAL:
            return f"its routes prohibit sending to {target}"
        case errno.EADDRNOTAVAIL:
            return f"it has no address to send to {target} from"
        case errno.ENOBUFS:
            return "the kernel's neighbour table is full (net.ipv4.neigh.default.gc_thresh3)"
        case _:
            return str(error.strerror or error).lower()


class _Attempts:
    """The sockets of one exchange, opened as far as the sandbox allows and again when it changes."""

    def __init__(self, netns: Path | None, probe: Probe, target: IPAddress, exchange: Exchange) -> None:
        self._netns, self._probe, self._target, self._exchange = netns, probe, target, exchange
        self._loop = asyncio.get_running_loop()
        self._open = ExitStack()
        self._socket: socket.socket | None = None
        self._flows: set[int] = set()
        self._sent_at = 0.0
        self._news = asyncio.Event()  # an answer, an error, or a change in the sandbox
        self._changed = False

    def __enter__(self) -> _Attempts:
        self._watch(sandbox.changes(self._netns), self._on_change)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def try_once(self) -> None:
        """Send one question, or learn why that is not possible now."""
        try:
            self._send(self._socket or self._connect())
            self._exchange.refusal = ""
        except OSError as error:
            self._exchange.refusal = in_words(error, self._target)

    def _connect(self) -> socket.socket:
        sock = sandbox.asking(self._netns, self._probe, self._target)
        self._socket = sock
        self._watch(sock, self._on_packet)
        return sock

    def _send(self, sock: socket.socket) -> None:
        source = sandbox.source_of(sock)
        self._exchange.source = source
        question = self._probe.question(source, self._target, self._flow(source))
        self._sent_at = time()
        try:
            sock.send(question)
        except OSError:
            # It may have been a pending error of an earlier question, which the kernel reports instead of
            # sending (sock_error() in net/core/sock.c); said once, it is gone.
            sock.send(question)
        self._exchange.sent += 1

    def _flow(self, source: IPAddress) -> int:
        if self._probe.protocol == "icmp":
            flow = secrets.randbelow(0xFFFF) + 1
        else:
            reserved = sandbox.reserve(self._netns, self._probe, source)
            self._open.callback(reserved.close)
            flow = reserved.getsockname()[1]
        self._flows.add(flow)
        return flow

    async def wait(self, timeout_s: float, tap: Tap | None, *, stop_at_error: bool) -> bool:
        """Wait for news; True when the sandbox changed, which is worth another attempt at once."""
        deadline = monotonic() + timeout_s
        while (left_s := deadline - monotonic()) > 0:
            events = [self._news, *([tap.sighting] if tap else [])]
            if not await _any_of(events, left_s):
                return False
            self._news.clear()
            if self._changed:
                self._changed = False
                return True
            if self._exchange.answer is not None and self._exchange.answer.reached:
                return False
            if tap is not None and tap.sighting.is_set():
                return False
            if stop_at_error and (self._exchange.answer is not None or _refused(self._exchange)):
                return False
        return False

    def _watch(self, sock: socket.socket, react: Callable[[socket.socket], None]) -> None:
        self._open.callback(sock.close)
        self._loop.add_reader(sock, react, sock)
        self._open.callback(self._loop.remove_reader, sock)

    def _on_packet(self, sock: socket.socket) -> None:
        while error := icmp_error.read(sock):
            if self._is_about_us(error):
                self._exchange.errors.append(error)
                self._news.set()
        try:
            packet, ancillary, _flags, _address = sock.recvmsg(65535, 64)
        except OSError:  # nothing, or the error just read once more
            return
        family = self._target.version
        segment = sandbox.transport(packet, family, with_header=False)
        answer = self._probe.answer(segment, family, frozenset(self._flows))
        if answer is None or (self._exchange.answer is not None and self._exchange.answer.reached):
            return
        self._exchange.answer = answer
        self._exchange.rtt_s = sandbox.received_at(ancillary) - self._sent_at
        self._news.set()

    def _is_about_us(self, error: IcmpError) -> bool:
        # Every raw socket between the same two addresses gets it.
        return error.flow(self._probe) in (None, *self._flows)

    def _on_change(self, sock: socket.socket) -> None:
        try:
            while sock.recv(65535):
                self._changed = True
        except OSError:  # drained, or overrun: a change either way
            self._changed = True
        self._news.set()


async def _any_of(events: list[asyncio.Event], timeout_s: float) -> bool:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()
