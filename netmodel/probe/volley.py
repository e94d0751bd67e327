"""Thousands of probes at once, with one socket for each sandbox.

All echo requests of a round are the same packet, for a reply is known by where it arrives and who
sent it; so scapy builds one packet a round, not one for each pair.

The pairs go out in waves, because all namespaces share the limit on neighbours (forget.py): a
hundred containers on one segment need 9,900 entries and the kernel allows 1,024. Each wave makes a
third of that at most and forgets what it made.
"""

from __future__ import annotations

import secrets
import selectors
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from time import monotonic, time
from typing import Literal

from netmodel.probe import icmp_error, sandbox
from netmodel.probe.echo import Echo
from netmodel.probe.exchange import in_words
from netmodel.probe.forget import Forgetful, wave_size
from netmodel.probe.probe import Answer, IPAddress, Probe
from netmodel.probe.tcp import Syn, redirected

# A wave is over when nothing has come in for this long; slower answers are heard during the next ones.
QUIET_S = 0.02
# What is silent after all waves is asked again after each of these; after the last it is silent for good.
PAUSES_S = (0.1, 0.2, 0.6)
BURST = 32  # questions between two looks at the answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """From a sandbox to an address."""

    netns: Path | None
    address: IPAddress


@dataclass(slots=True, kw_only=True)
class Shot:
    """What came of a pair."""

    kind: Literal["reached", "closed", "silent", "refused"] = "silent"
    rtt_s: float = 0.0
    reason: str = "no answer"
    sent_at: float = 0.0


def volley(pairs: Sequence[Pair], probe: Echo | Syn) -> dict[Pair, Shot]:
    """Probe all pairs and wait for what comes back; the same pair twice is probed once."""
    shots = {pair: Shot() for pair in pairs}
    with ExitStack() as stack:
        guns = {key: _Gun(key, probe, stack) for key in dict.fromkeys(map(_key, shots))}
        forgetful = stack.enter_context(Forgetful()) if len(shots) > wave_size() else None
        field = _Field(shots, guns, forgetful, stack)
        field.fire(list(shots))
        for pause_s in PAUSES_S:
            field.wait(pause_s)
            if not field.silent():
                break
            if pause_s != PAUSES_S[-1]:
                field.fire(field.silent())
    return shots


class _Field:
    """All guns and what they have hit so far."""

    def __init__(
        self, shots: dict[Pair, Shot], guns: dict[_Key, _Gun], forgetful: Forgetful | None, stack: ExitStack
    ) -> None:
        self._shots, self._guns, self._forgetful = shots, guns, forgetful
        self._pending: set[Pair] = set()  # what we are listening for now
        self._selector = stack.enter_context(selectors.DefaultSelector())
        for gun in guns.values():
            self._selector.register(gun.socket, selectors.EVENT_READ, gun)

    def silent(self) -> list[Pair]:
        return [pair for pair, shot in self._shots.items() if shot.kind == "silent"]

    def fire(self, pairs: Sequence[Pair]) -> None:
        """One round: a new flow, sent in waves."""
        targets: dict[_Key, list[IPAddress]] = {}
        for pair in pairs:
            targets.setdefault(_key(pair), []).append(pair.address)
        for key, addresses in targets.items():
            self._guns[key].new_flow(addresses)
        rest = iter(pairs)
        while wave := list(islice(rest, wave_size())):
            self._fire_wave(wave)

    def _fire_wave(self, wave: Sequence[Pair]) -> None:
        stacks = dict.fromkeys(pair.netns for pair in wave)
        if self._forgetful:
            self._forgetful.remember(stacks)
        self._pending = set(wave)
        for count, pair in enumerate(wave, start=1):
            try:
                self._shots[pair].sent_at = self._guns[_key(pair)].fire(pair.address)
            except OSError as error:
                self._settle(pair, "refused", in_words(error, pair.address))
            if count % BURST == 0:
                self._hear(0)
        self._listen(QUIET_S, until_quiet=True)
        if self._forgetful:
            self._forgetful.forget(stacks)

    def wait(self, timeout_s: float) -> None:
        """Hear late answers, for that long or until nothing is silent any more."""
        self._pending = set(self.silent())
        self._listen(timeout_s, until_quiet=False)

    def _listen(self, timeout_s: float, *, until_quiet: bool) -> None:
        deadline = monotonic() + timeout_s
        while self._pending and (left_s := deadline - monotonic()) > 0:
            if self._hear(left_s) and until_quiet:
                deadline = monotonic() + timeout_s

    def _hear(self, timeout_s: float) -> bool:
        ready = self._selector.select(timeout_s)
        for key, _events in ready:
            self._hear_gun(key.data)
        return bool(ready)

    def _hear_gun(self, gun: _Gun) -> None:
        while error := icmp_error.read(gun.socket):
            if error.target is not None and error.flow(gun.probe) in gun.flows:
                self._settle(Pair(netns=gun.netns, address=error.target), "refused", str(error))
        for answer, sender, at in gun.answers():
            self._settle(
                Pair(netns=gun.netns, address=sender), "reached" if answer.reached else "closed", answer.words, at
            )

    def _settle(self, pair: Pair, kind: Literal["reached", "closed", "refused"], reason: str, at: float = 0.0) -> None:
        shot = self._shots.get(pair)
        if shot is None or shot.kind == "reached":
            return
        self._pending.discard(pair)
        shot.kind, shot.reason = kind, reason
        shot.rtt_s = max(0.0, at - shot.sent_at) if at else 0.0


_Key = tuple[Path | None, int]


class _Gun:
    """One socket of one sandbox for one family.

    Attributes:
        flows: Every echo id or source port used so far.
    """

    def __init__(self, key: _Key, probe: Probe, stack: ExitStack) -> None:
        self.key, self.probe = key, probe
        self.netns, self._family = key
        self._stack = stack
        self.socket = sandbox.asking_all(self.netns, probe, self._family)
        stack.callback(self.socket.close)
        self.flows: frozenset[int] = frozenset()
        self._flow = 0
        self._questions: dict[IPAddress, bytes] = {}  # by source; each for the first target it was built for
        self._built_for: dict[IPAddress, IPAddress] = {}
        self._sources: dict[IPAddress, IPAddress | OSError] = {}

    def new_flow(self, targets: Sequence[IPAddress]) -> None:
        """Choose a new echo id or port: what connection tracking decided about the last one does not count."""
        self._questions.clear()
        if self.probe.protocol == "icmp":
            self._flow = secrets.randbelow(0xFFFF) + 1
        else:
            anywhere = ip_address("0.0.0.0" if self._family == 4 else "::")
            reserved = sandbox.reserve(self.netns, self.probe, anywhere)
            self._stack.callback(reserved.close)
            self._flow = reserved.getsockname()[1]
            # A SYN's checksum covers its source address, so we have to know what the kernel will choose.
            self._sources |= sandbox.sources_for(self.netns, targets)
        self.flows |= {self._flow}

    def fire(self, target: IPAddress) -> float:
        """Send one question; when it left, as time() counts."""
        question = self._question(target)
        at = time()
        try:
            self.socket.sendto(question, (str(target), 0))
        except OSError:
            # Most often a pending ICMP error of an earlier question; reported once, it is gone.
            self.socket.sendto(question, (str(target), 0))
        return at

    def answers(self) -> Iterator[tuple[Answer, IPAddress, float]]:
        while True:
            try:
                packet, ancillary, _flags, sender = self.socket.recvmsg(4096, 64)
            except OSError:  # drained
                return
            segment = sandbox.transport(packet, self._family, with_header=False)
            answer = self.probe.answer(segment, self._family, self.flows)
            if answer is not None:
                yield answer, ip_address(sender[0].partition("%")[0]), sandbox.received_at(ancillary)

    def _question(self, target: IPAddress) -> bytes:
        source = self._sources.get(target, target) if self.probe.protocol == "tcp" else _ANY
        if isinstance(source, OSError):
            raise source
        if source not in self._questions:
            self._questions[source] = self.probe.question(source, target, self._flow)
            self._built_for[source] = target
        question = self._questions[source]
        return question if source is _ANY else redirected(question, self._built_for[source], target)


_ANY = ip_address("0.0.0.0")  # an echo request is the same from everywhere


def _key(pair: Pair) -> _Key:
    return pair.netns, pair.address.version
