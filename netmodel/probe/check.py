"""Proving all expectations of a project, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from netmodel.model import Expectation
from netmodel.probe.expectation import prove
from netmodel.probe.listener import Listeners
from netmodel.probe.result import Outcome, Result
from netmodel.probe.target import Aim, NoAim, aims
from netmodel.probe.view import Node, View, parse, parse_expectations


def check(view: Mapping[str, Any], expectations: Sequence[Any] | None = None) -> list[Result]:
    """Put every expectation to the proof; the results are in their order.

    Args:
        view: What GET /netmodel/projects/NAME answers.
        expectations: Instead of the view's own; values or their JSON.
    """
    parsed = parse(view)
    chosen = parsed.expectations if expectations is None else parse_expectations(expectations)
    return asyncio.run(_check(parsed, chosen))


async def _check(view: View, expectations: Sequence[Expectation]) -> list[Result]:
    listeners = Listeners()
    gates = _Gates(expectations)
    return await asyncio.gather(*(_prove_all(view, each, listeners, gates) for each in expectations))


async def _prove_all(view: View, expectation: Expectation, listeners: Listeners, gates: _Gates) -> Result:
    began = monotonic()
    async with gates.turn(expectation):
        sources = view.named(expectation.source)
        each = [_prove_from(view, source, expectation, listeners) for source in sources]
        outcomes = [outcome for found in await asyncio.gather(*each) for outcome in found]
    if not sources:
        outcomes = [_nothing(expectation, f"there is no service {expectation.source} in {view.name}")]
    return Result(expectation=expectation, outcomes=tuple(outcomes), took_s=monotonic() - began)


async def _prove_from(view: View, source: Node, expectation: Expectation, listeners: Listeners) -> Sequence[Outcome]:
    try:
        found = await aims(view, source, expectation)
    except NoAim as error:
        return [_nothing(expectation, str(error), source.name)]
    except OSError as error:
        return [_nothing(expectation, f"{source.name} cannot be asked: {error}", source.name)]
    others = [aim for aim in found if not _is_itself(source, aim, expectation)] or found
    return await asyncio.gather(*(prove(view, source, aim, expectation, listeners) for aim in others))


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
