"""Timing things several times, and what one measurement came to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter


@dataclass(slots=True)
class Samples:
    """Repetitions of one operation, in the unit of its row; or why there are none.

    Args:
        asked: False where the bench gave up before, because it would have taken too long.
    """

    values: list[float] = field(default_factory=list)
    failure: str = ""
    asked: bool = True

    @property
    def median(self) -> float | None:
        return median(self.values) if self.values and not self.failure else None


class Clock:
    """Collects the samples of many operations by their names."""

    def __init__(self) -> None:
        self.samples: dict[str, Samples] = {}

    @contextmanager
    def time(self, operation: str, per: float = 1) -> Iterator[None]:
        """Time the block in milliseconds, divided by per (nodes, say)."""
        began = perf_counter()
        yield
        self.add(operation, (perf_counter() - began) * 1000 / per)

    def add(self, operation: str, value: float) -> None:
        self.samples.setdefault(operation, Samples()).values.append(value)

    @contextmanager
    def guarded(self, *operations: str) -> Iterator[None]:
        """A failure inside is the operations' result; the rest of the bench goes on."""
        try:
            yield
        except Exception as error:
            self.fail(" ".join(str(error).split())[:300] or repr(error), *operations)

    def fail(self, reason: str, *operations: str) -> None:
        for operation in operations:
            self.samples[operation] = Samples(failure=reason)

    def give_up(self, reason: str, *operations: str) -> None:
        for operation in operations:
            self.samples[operation] = Samples(failure=reason, asked=False)
