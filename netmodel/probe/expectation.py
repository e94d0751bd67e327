"""Proving one expectation between one source and one address.

Reachable ("->") means: an echo reply (icmp); a SYN-ACK (tcp: a RST is a host that was reached, but
the port is closed, and that is a failure which says so); for udp a reply, or our datagram seen by
the target's transport layer where a program holds the port. Where none does, a listener that we
place sends it back, so that UDP reachability is proven in both directions.

Unreachable ("-/>") means: with all controls shown (control.py), nothing that we sent for SILENCE_S
was delivered at the target or answered by it. A RST or an ICMP error without delivery is a firewall
that says no in words: held, too. A probe that was delivered but whose answer was lost got there:
failed. within gives both kinds time to become true: it is asked again until it is.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from time import monotonic

from netmodel.probe.control import Control, Controls, vouch
from netmodel.probe.echo import Echo
from netmodel.probe.exchange import LONGEST_PAUSE_S, Exchange, ask
from netmodel.probe.listener import Listeners
from netmodel.probe.probe import Probe
from netmodel.probe.result import Outcome, Verdict
from netmodel.probe.tap import Tap
from netmodel.probe.target import Aim
from netmodel.probe.tcp import Syn
from netmodel.probe.udp import Datagram
from netmodel.probe.view import Node
from netmodel.project import Expectation

# As long as TCP waits before it sends a SYN again (RFC 6298, section 2.1): a program would see the same silence.
SILENCE_S = 1.0


def make_probe(expectation: Expectation) -> Probe:
    match expectation.via:
        case "icmp":
            return Echo()
        case "tcp":
            return Syn(expectation.port)
        case "udp":
            return Datagram(expectation.port)


async def prove(controls: Controls, source: Node, aim: Aim, expectation: Expectation, listeners: Listeners) -> Outcome:
    """Put the expectation to the proof between this source and this address."""
    began = monotonic()
    if not source.running:
        return _outcome(source, aim, "inconclusive", f"{source.name} does not run ({source.state})", began)
    try:
        if expectation.reachable:
            return await _reaches(source, aim, expectation, listeners)
        return await _does_not_reach(controls, source, aim, expectation, listeners)
    except OSError as error:
        return _outcome(source, aim, "inconclusive", f"the probe could not be set up: {error}", began)


async def _reaches(source: Node, aim: Aim, expectation: Expectation, listeners: Listeners) -> Outcome:
    began = monotonic()
    probe = make_probe(expectation)
    tap: Tap | None = None
    with ExitStack() as stack:
        if aim.node is not None and not aim.node.shares_stack_with(source):
            tap = stack.enter_context(Tap(aim.node.netns, probe, aim.address.version))
        if aim.node is not None and expectation.via == "udp":
            stack.enter_context(listeners.ensure(aim.node.netns, "udp", aim.address, expectation.port))
        exchange = await ask(
            source.netns,
            probe,
            aim.address,
            within_s=expectation.within_s,
            tap=tap,
            sighting_counts=expectation.via == "udp",
        )
    verdict: Verdict = "held" if exchange.reached else "failed"
    reason = _success(exchange) if exchange.reached else _failure(source, aim, exchange, tap, expectation)
    return _outcome(source, aim, verdict, reason, began, exchange, tap)


async def _does_not_reach(
    controls: Controls, source: Node, aim: Aim, expectation: Expectation, listeners: Listeners
) -> Outcome:
    began = monotonic()
    deadline = began + expectation.within_s
    with ExitStack() as stack:
        listener = "what listens there is not ours to see"
        if aim.node is not None:
            placed = listeners.ensure(aim.node.netns, expectation.via, aim.address, expectation.port)
            listener = stack.enter_context(placed)
        while True:
            outcome = await _once(controls, source, aim, expectation, listener, began)
            if outcome.verdict == "held" or monotonic() >= deadline:
                return outcome
            # It is reached, or a control is not yet there: give the rules a moment to change, no more.
            await asyncio.sleep(min(LONGEST_PAUSE_S, max(0.0, deadline - monotonic())))


async def _once(
    controls: Controls, source: Node, aim: Aim, expectation: Expectation, listener: str, began: float
) -> Outcome:
    """Controls, silence, control again."""

    def fresh() -> Probe:
        return make_probe(expectation)

    shown, sends = await asyncio.gather(
        controls.answered(source, aim, fresh, listener), controls.connected(source, aim.address.version)
    )
    if not shown.shown:
        return _outcome(source, aim, "inconclusive", shown.words, began, control=shown.words)
    probe = fresh()
    with ExitStack() as stack:
        tap = None
        if aim.node is not None:
            tap = stack.enter_context(Tap(aim.node.netns, probe, aim.address.version))
        exchange = await ask(
            source.netns, probe, aim.address, within_s=SILENCE_S, tap=tap, sighting_counts=True, patient=False
        )
    words = f"{shown.words}; {sends.words}"
    if _got_there(exchange, tap):
        reason = f"it was reached: {_success(exchange)}"
        return _outcome(source, aim, "failed", reason, began, exchange, tap, words)
    if not exchange.sent and exchange.refusal:
        reason = f"{source.name} cannot send it: {exchange.refusal}"
        return _outcome(source, aim, "held", reason, began, exchange, tap, shown.words)
    if not sends.shown and not (exchange.errors or exchange.answer):
        reason = f"{source.name} may be cut off altogether: {sends.words}"
        return _outcome(source, aim, "inconclusive", reason, began, exchange, tap, words)
    again = await _again(shown, aim, expectation)
    if not again:
        reason = f"{aim} stopped answering {shown.voucher.name if shown.voucher else 'anybody'} meanwhile"
        return _outcome(source, aim, "inconclusive", reason, began, exchange, tap, words)
    return _outcome(source, aim, "held", _silence(exchange, aim, tap), began, exchange, tap, words)


def _got_there(exchange: Exchange, tap: Tap | None) -> bool:
    # Where we watch the target, a RST without delivery is not the target's. Where we cannot, the control
    # has shown the port open, so a RST is somebody's on the way, too.
    return exchange.reached or (tap is not None and tap.delivered > 0)


async def _again(shown: Control, aim: Aim, expectation: Expectation) -> bool:
    if shown.voucher is None:
        return False
    return (await vouch(shown.voucher, aim, lambda: make_probe(expectation))).reached


def _success(exchange: Exchange) -> str:
    if exchange.answer is not None and exchange.answer.reached:
        return f"{exchange.answer.words} from {exchange.target} after {_ms(exchange.rtt_s)}"
    return "delivered to the target's stack, which did not answer"


def _failure(source: Node, aim: Aim, exchange: Exchange, tap: Tap | None, expectation: Expectation) -> str:
    if exchange.answer is not None:
        return f"{aim} was reached, but port {expectation.port} is closed: it answers RST"
    if not exchange.sent:
        return f"{source.name} cannot send it: {exchange.refusal}"
    parts = [f"no answer in {expectation.within_s:g} s", f"{_count(exchange)} left {source.name} ({exchange.source})"]
    parts += _trail(aim, exchange, tap)
    if exchange.refusal:
        parts.append(f"then {exchange.refusal}")
    return "; ".join(parts)


def _silence(exchange: Exchange, aim: Aim, tap: Tap | None) -> str:
    parts = []
    if exchange.answer is not None:
        parts.append("refused with a RST that is not the target's")
    elif not exchange.errors:
        parts.append("no answer")
    parts += _trail(aim, exchange, tap)
    return "; ".join(parts)


def _trail(aim: Aim, exchange: Exchange, tap: Tap | None) -> list[str]:
    """How far the questions came, and what was said about them."""
    parts = []
    if tap is not None and tap.delivered:
        parts.append(f"{tap.delivered} of them reached {aim.name}'s stack")
    elif tap is not None and tap.arrived:
        parts.append(f"{tap.arrived} came in on {aim.name}'s link, but its own firewall let none through")
    elif tap is not None:
        parts.append(f"none arrived at {aim.name}")
    if exchange.last_error is not None:
        parts.append(f"last ICMP error: {exchange.last_error}")
    return parts


def _count(exchange: Exchange) -> str:
    return f"{exchange.sent} {exchange.noun}{'' if exchange.sent == 1 else 's'}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def _outcome(
    source: Node,
    aim: Aim,
    verdict: Verdict,
    reason: str,
    began: float,
    exchange: Exchange | None = None,
    tap: Tap | None = None,
    control: str = "",
) -> Outcome:
    return Outcome(
        source=source.name,
        target=aim.name,
        address=str(aim.address),
        verdict=verdict,
        reason=reason,
        sent=_sent(source, aim, exchange),
        received=_received(aim, exchange, tap),
        control=control,
        took_s=monotonic() - began,
    )


def _sent(source: Node, aim: Aim, exchange: Exchange | None) -> str:
    if exchange is None or not exchange.sent:
        return "nothing"
    return f"{_count(exchange)} from {source.name} ({exchange.source}) to {aim}"


def _received(aim: Aim, exchange: Exchange | None, tap: Tap | None) -> str:
    if exchange is None:
        return "nothing"
    if exchange.answer is not None:
        return f"{exchange.answer.words} after {_ms(exchange.rtt_s)}"
    return "; ".join(_trail(aim, exchange, tap)) or "nothing"
