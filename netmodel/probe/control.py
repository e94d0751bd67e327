"""Positive controls: what has to be true before silence means anything.

"a -/> b" is held when b does not get a's probe. Silence alone proves nothing: b may be down, a may
be cut off, our own watching may be broken. So three things are shown first, with the same kind of
probe and the same sockets:

1. *It would be answered.* On the target's address and port something listens: the program that
   holds the port, or a listener that we place. Somebody who may reach it does: the host, other
   containers on the target's network, and at last the target itself over its loopback.
2. *It would get there.* If only the target reached itself, its links must be alive as well: some
   neighbour or gateway answers it.
3. *It could be sent.* Something answers the source: a gateway, a neighbour, its own stack if it has
   no link at all. A source whose own kernel refuses to send (no route, its own firewall) needs no
   such control: the refusal is the proof.

Without these the result is inconclusive, never held. The first is shown again after the silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Any

from netmodel.probe.echo import Echo
from netmodel.probe.exchange import Exchange, ask
from netmodel.probe.probe import IPAddress, Probe
from netmodel.probe.tap import Tap
from netmodel.probe.target import Aim
from netmodel.probe.view import HOST, Node, View

# More would prove no more.
MOST_ASKED = 4
CONTROL_S = 0.8
# The next one is asked when the last has not answered by then: most often one is enough.
HEAD_START_S = 0.08

MakeProbe = Callable[[], Probe]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Args:
    words: What was shown, or what could not be.
    voucher: Who reached the target.
    """

    shown: bool
    words: str
    voucher: Node | None = None


class Controls:
    """The controls of one check. That a node is connected is shown once for all that need it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._connected: dict[tuple[Path | None, int], asyncio.Task[Control]] = {}

    async def answered(self, source: Node, aim: Aim, make_probe: MakeProbe, listener: str) -> Control:
        """Show that the target answers this probe when somebody who may reach it asks."""
        outside = list(islice(self._vouchers(source, aim), MOST_ASKED))
        first = await _first([vouch(node, aim, make_probe) for node in outside])
        if first is not None:
            voucher = outside[first]
            return Control(shown=True, words=f"{voucher.name} reached {aim} ({listener})", voucher=voucher)
        if aim.node is None:
            asked = ", ".join(node.name for node in outside) or "nobody"
            return Control(shown=False, words=f"nobody who could be asked ({asked}) gets an answer from {aim} either")
        return await self._only_itself(aim, aim.node, make_probe, listener)

    async def _only_itself(self, aim: Aim, node: Node, make_probe: MakeProbe, listener: str) -> Control:
        itself, alive = await asyncio.gather(vouch(node, aim, make_probe), self.connected(node, aim.address.version))
        if not itself.reached:
            return Control(shown=False, words=f"not even {node.name} itself reaches {aim} ({listener})")
        if not alive.shown:
            return Control(shown=False, words=f"{aim} is reached from itself only, and {alive.words}")
        words = f"{node.name} itself reached {aim} ({listener}), and {alive.words}"
        return Control(shown=True, words=words, voucher=node)

    async def connected(self, node: Node, family: int) -> Control:
        """Show that a node's stack sends and hears: something answers its echo requests."""
        key = (node.netns, family)
        task = self._connected.get(key)
        if task is None or (task.done() and not task.result().shown):
            task = self._connected[key] = asyncio.ensure_future(self._connect(node, family))
        return await asyncio.shield(task)

    async def _connect(self, node: Node, family: int) -> Control:
        addresses = list(islice(self._near(node, family), MOST_ASKED))
        first = await _first([ask(node.netns, Echo(), near, within_s=CONTROL_S, patient=False) for near in addresses])
        if first is None:
            asked = ", ".join(map(str, addresses)) or "it has no neighbour"
            return Control(shown=False, words=f"nothing near {node.name} answers it ({asked})")
        return Control(shown=True, words=f"{addresses[first]} answers {node.name}")

    def _vouchers(self, source: Node, aim: Aim) -> Iterator[Node]:
        """Who may be able to reach the target, the most likely first; neither the source nor the target."""
        seen = {source.netns}
        if aim.node is not None:
            seen.add(aim.node.netns)
        if HOST.netns not in seen:
            seen.add(HOST.netns)
            yield HOST
        if aim.node is None:
            yield from (node for node in self._view.nodes if node.running and node.netns not in seen)
            return
        for node, link in self._view.neighbours(aim.node):
            on_it = any(aim.address in address.network for address in link.addresses)
            if on_it and node.netns not in seen:
                seen.add(node.netns)
                yield node

    def _near(self, node: Node, family: int) -> Iterator[IPAddress]:
        loopback = ip_address("127.0.0.1" if family == 4 else "::1")
        if node.netns is None or not node.attachments:
            yield loopback
            return
        yield from (gateway for gateway in self._view.gateways(node) if gateway.version == family)
        for _neighbour, link in self._view.neighbours(node):
            yield from (address.ip for address in link.addresses if address.version == family)


async def vouch(node: Node, aim: Aim, make_probe: MakeProbe, within_s: float = CONTROL_S) -> Exchange:
    """Put the very same kind of probe from another place."""
    probe = make_probe()
    if aim.node is None or probe.protocol != "udp":
        return await ask(node.netns, probe, aim.address, within_s=within_s, patient=False)
    with Tap(aim.node.netns, probe, aim.address.version) as tap:
        return await ask(
            node.netns, probe, aim.address, within_s=within_s, tap=tap, sighting_counts=True, patient=False
        )


async def _first(asking: Sequence[Coroutine[Any, Any, Exchange]]) -> int | None:
    """Start one after the other, each with a head start, until one reaches what it asks; which one it was."""
    waiting = list(enumerate(asking))
    running: dict[asyncio.Future[Exchange], int] = {}
    try:
        while waiting or running:
            if waiting:
                index, question = waiting.pop(0)
                running[asyncio.ensure_future(question)] = index
            timeout_s = HEAD_START_S if waiting else None
            done, _pending = await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                index = running.pop(task)
                # An error is a place that is gone; others may do.
                if task.exception() is None and task.result().reached:
                    return index
        return None
    finally:
        for _index, question in waiting:
            question.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
