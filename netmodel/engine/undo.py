"""Taking back what failed half-way, and taking down what is no longer wanted.

Both try every step, whatever became of the others, and no failure hides another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import ParamSpec

P = ParamSpec("P")


class Undo(ExitStack):
    """Takes back, on the way out, what was done before something failed; pop_all() keeps it.

    What was wrong first is what is raised: a step back that fails is told as a note of that.
    """

    def callback(  # type: ignore[override]
        self, step: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        super().callback(partial(_take_back, partial(step, *args, **kwargs)))


def _take_back(step: Callable[[], object]) -> None:
    reason = sys.exc_info()[1]
    try:
        step()
    except Exception as error:
        if reason is None:
            raise
        reason.add_note(f"taking it back failed, too: {error}")


class Steps(AbstractContextManager["Steps", bool]):
    """One step of a take-down: `with step: ...` keeps its failure for the end."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.failures.append(error)
            return True
        return False


@contextmanager
def every_step(message: str) -> Iterator[Steps]:
    """Run a block of steps.

    Raises:
        ExceptionGroup: Some steps failed; the others were still taken.
    """
    steps = Steps()
    yield steps
    if steps.failures:
        raise ExceptionGroup(message, steps.failures)
