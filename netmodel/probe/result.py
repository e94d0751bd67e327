"""What came of an expectation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netmodel.project import Expectation

Verdict = Literal["held", "failed", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One source, one address.

    Args:
        reason: One sentence: why the verdict is what it is.
        sent: "3 echo requests from h1 (10.1.0.10) to db (10.2.0.3)".
        received: What came back, or where else the probe was seen.
        control: What was shown first, for "-/>"; "" for "->", which is its own proof.
    """

    source: str
    target: str
    address: str
    verdict: Verdict
    reason: str
    sent: str = ""
    received: str = ""
    control: str = ""
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An expectation with all its outcomes: every replica of both sides, every address."""

    expectation: Expectation
    outcomes: tuple[Outcome, ...]
    took_s: float

    @property
    def verdict(self) -> Verdict:
        """All outcomes must hold; one that failed weighs more than one that shows nothing."""
        verdicts = {outcome.verdict for outcome in self.outcomes}
        if "failed" in verdicts:
            return "failed"
        return "held" if verdicts == {"held"} else "inconclusive"

    @property
    def decisive(self) -> Outcome:
        """The first outcome that has the verdict of the whole."""
        return next(outcome for outcome in self.outcomes if outcome.verdict == self.verdict)


def title(expectation: Expectation) -> str:
    """As in the topology file: "h1 -/> db: tcp 5432"."""
    arrow = "->" if expectation.reachable else "-/>"
    what = f"{expectation.via} {expectation.port}" if expectation.port else expectation.via
    family = f" over IPv{expectation.family}" if expectation.family else ""
    return f"{expectation.source} {arrow} {expectation.target}: {what}{family}"


def exit_code(results: Sequence[Result]) -> int:
    """0: all hold; 1: some do not; 2: none ran."""
    if not results:
        return 2
    return 0 if all(result.verdict == "held" for result in results) else 1
