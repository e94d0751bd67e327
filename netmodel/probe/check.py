"""Proving all expectations of a project, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from netmodel.probe import sandbox
from netmodel.probe.control import Controls
from netmodel.probe.expectation import prove
from netmodel.probe.listener import Listeners
from netmodel.probe.result import Outcome, Result
from netmodel.probe.target import Aim, NoAim, aims
from netmodel.probe.view import Node, View, parse, parse_expectations
from netmodel.project import Expectation

# Each holds some eight sockets, and makes neighbour entries that all namespaces share the room for.
AT_ONCE = 200


def check(view: Mapping[str, Any], expectations: Sequence[Any] | None = None) -> list[Result]:
    """Put every expectation to the proof; the results are in their order.

    Args:
        view: What GET /netmodel/projects/NAME answers.
        expectations: Instead of the view's own; values or their JSON.
    """
    sandbox.allow_many_sockets()
    parsed = parse(view)
    chosen = parsed.expectations if expectations is None else parse_expectations(expectations)
    return asyncio.run(_check(parsed, chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """What the expectations of one check share."""

    view: View
    controls: Controls
    listeners: Listeners
    slots: asyncio.Semaphore

    async def prove(self, source: Node, aim: Aim, expectation: Expectation) -> Outcome:
        async with self.slots:
            return await prove(self.controls, source, aim, expectation, self.listeners)


async def _check(view: View, expectations: Sequence[Expectation]) -> list[Result]:
    session = _Session(view=view, controls=Controls(view), listeners=Listeners(), slots=asyncio.Semaphore(AT_ONCE))
    gates = _Gates(expectations)
    return await asyncio.gather(*(_prove_all(session, each, gates) for each in expectations))


async def _prove_all(session: _Session, expectation: Expectation, gates: _Gates) -> Result:
    began = monotonic()
    async with gates.turn(expectation):
        sources = session.view.named(expectation.source)
        each = [_prove_from(session, source, expectation) for source in sources]
        outcomes = [outcome for found in await asyncio.gather(*each) for outcome in found]
    if not sources:
        outcomes = [_nothing(expectation, f"there is no service {expectation.source} in {session.view.name}")]
    return Result(expectation=expectation, outcomes=tuple(outcomes), took_s=monotonic() - began)


async def _prove_from(session: _Session, source: Node, expectation: Expectation) -> Sequence[Outcome]:
    try:
        found = await aims(session.view, source, expectation)
    except NoAim as error:
        return [_nothing(expectation, str(error), source.name)]
    except OSError as error:
        return [_nothing(expectation, f"{source.name} cannot be asked: {error}", source.name)]
    others = [aim for aim in found if not _is_itself(source, aim, expectation)] or found
    return await asyncio.gather(*(session.prove(source, aim, expectation) for aim in others))


def _is_itself(source: Node, aim: Aim, expectation: Expectation) -> bool:
    """Replicas of one service are proven against each other, not against themselves."""
    return expectation.source == expectation.target and aim.node is not None and aim.node.name == source.name


def _nothing(expectation: Expectation, reason: str, source: str = "") -> Outcome:
    # "->" to what is not there is plainly not so; "-/>" to it shows nothing.
    return Outcome(
        source=source or expectation.source,
        target=expectation.target,
        address="",
        verdict="failed" if expectation.reachable else "inconclusive",
        reason=reason,
    )


class _Gates:
    """Keeps "-/>" on a TCP port back until every "->" on that port is done.

    The listener that a negative expectation places would make a positive one come true.
    """

    def __init__(self, expectations: Iterable[Expectation]) -> None:
        self._open: dict[int, int] = {}
        self._changed = asyncio.Condition()
        for expectation in expectations:
            if _goes_first(expectation):
                self._open[expectation.port] = self._open.get(expectation.port, 0) + 1

    @asynccontextmanager
    async def turn(self, expectation: Expectation) -> AsyncIterator[None]:
        if expectation.via == "tcp" and not expectation.reachable:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._open.get(expectation.port))
        try:
            yield
        finally:
            if _goes_first(expectation):
                async with self._changed:
                    self._open[expectation.port] -= 1
                    self._changed.notify_all()


def _goes_first(expectation: Expectation) -> bool:
    return expectation.via == "tcp" and expectation.reachable
