"""Taking down: every step is tried, whatever the others did, and all failures are told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType


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
