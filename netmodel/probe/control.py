"""Positive controls: what has to be true before silence means anything.

"a -/> b" is held when b does not get a's probe. Silence alone proves nothing: b may be down, a may
be cut off, our own watching may be broken. So three things are shown first, with the same kind of
probe and the same sockets:

1. *It would be answered.* On the target's address and port something listens: the program that
   holds the port, or a listener that we place. Somebody who may reach it does: other containers on
   the target's networks, the host, and at last the target itself over its loopback.
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
from typing import Any

from netmodel.probe.echo import Echo
from netmodel.probe.exchange import Exchange, ask
from netmodel.probe.probe import IPAddress, Probe
from netmodel.probe.tap import Tap
from netmodel.probe.target import Aim
from netmodel.probe.view import HOST, Node, View

# More would prove no more.
MOST_VOUCHERS = 4
CONTROL_S = 0.8

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


async def answered(view: View, source: Node, aim: Aim, make_probe: MakeProbe, listener: str) -> Control:
    """Show that the target answers this probe when somebody who may reach it asks."""
    outside = list(islice(_vouchers(view, source, aim), MOST_VOUCHERS))
    reached = await _first([vouch(node, aim, make_probe) for node in outside])
    if reached is not None:
        voucher = outside[reached[0]]
        return Control(shown=True, words=f"{voucher.name} reached {aim} ({listener})", voucher=voucher)
    if aim.node is None:
        asked = ", ".join(node.name for node in outside) or "nobody"
        return Control(shown=False, words=f"nobody who could be asked ({asked}) gets an answer from {aim} either")
    itself, alive = await asyncio.gather(vouch(aim.node, aim, make_probe), connected(view, aim.node, aim.address))
    if not itself.reached:
        return Control(shown=False, words=f"not even {aim.node.name} itself reaches {aim} ({listener})")
    if not alive.shown:
        return Control(shown=False, words=f"{aim} is reached from itself only, and {alive.words}")
    words = f"{aim.node.name} itself reached {aim} ({listener}), and {alive.words}"
    return Control(shown=True, words=words, voucher=aim.node)


async def vouch(node: Node, aim: Aim, make_probe: MakeProbe, within_s: float = CONTROL_S) -> Exchange:
    """Put the very same kind of probe from another place."""
    probe = make_probe()
    if aim.node is None or probe.protocol != "udp":
        return await ask(node.netns, probe, aim.address, within_s=within_s, patient=False)
    with Tap(aim.node.netns, probe, aim.address.version) as tap:
        return await ask(
            node.netns, probe, aim.address, within_s=within_s, tap=tap, sighting_counts=True, patient=False
        )


async def connected(view: View, node: Node, towards: IPAddress) -> Control:
    """Show that a node's stack sends and hears: something answers its echo requests."""
    addresses = list(islice(_near(view, node, towards.version), MOST_VOUCHERS))
    found = await _first([ask(node.netns, Echo(), near, within_s=CONTROL_S, patient=False) for near in addresses])
    if found is None:
        asked = ", ".join(map(str, addresses))
        return Control(shown=False, words=f"nothing near {node.name} answers it ({asked})")
    return Control(shown=True, words=f"{addresses[found[0]]} answers {node.name}")


def _vouchers(view: View, source: Node, aim: Aim) -> Iterator[Node]:
    """Who may be able to reach the target, the most likely first; neither the source nor the target."""
    seen = {source.netns}
    if aim.node is not None:
        seen.add(aim.node.netns)
        for node, link in view.neighbours(aim.node):
            on_it = any(aim.address in address.network for address in link.addresses)
            if on_it and node.netns not in seen:
                seen.add(node.netns)
                yield node
    if HOST.netns not in seen:
        yield HOST
    if aim.node is None:
        yield from (node for node in view.nodes if node.running and node.netns not in seen)


def _near(view: View, node: Node, family: int) -> Iterator[IPAddress]:
    loopback = ip_address("127.0.0.1" if family == 4 else "::1")
    if node.netns is None or not node.attachments:
        yield loopback
        return
    yield from (gateway for gateway in view.gateways(node) if gateway.version == family)
    for _neighbour, link in view.neighbours(node):
        yield from (address.ip for address in link.addresses if address.version == family)


async def _first(asking: Sequence[Coroutine[Any, Any, Exchange]]) -> tuple[int, Exchange] | None:
    """The first to reach what it asks, and its place in the list; the rest are called off."""
    tasks = [asyncio.ensure_future(each) for each in asking]
    try:
        for done in asyncio.as_completed(tasks):
            try:
                exchange = await done
            except OSError:  # that place is gone; others may do
                continue
            if exchange.reached:
                return next(index for index, task in enumerate(tasks) if _is(task, exchange)), exchange
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is(task: asyncio.Future[Exchange], exchange: Exchange) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None and task.result() is exchange
