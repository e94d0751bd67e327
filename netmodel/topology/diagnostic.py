"""What is wrong with a topology, or worth a word, each with its place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netmodel.errors import Invalid


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One mistake or warning.

    Args:
        file: As the user named it.
        line, column: From 1; 0 where the file as a whole is meant.
        key: The path of keys that leads there, "services.web.ports[0]", or "".
        message: What is wrong, in plain words.
        hint: The way out, or "".
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {key}{self.message}{hint}"


class TopologyError(Invalid):
    """A topology that cannot be used, with every mistake in it, in the order of the file."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = list(diagnostics)


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint that names the closest of what is known, or ""."""
    if len(name) > 100:  # no slip of the keyboard, and difflib's cost grows with the length
        return ""
    choices = list(known)
    close = difflib.get_close_matches(name, choices, 1, cutoff)
    # Two letters swapped in a short name, or only its beginning, are far apart to difflib.
    close = close or [choice for choice in choices if sorted(choice) == sorted(name)]
    close = close or [choice for choice in choices if len(name) > 2 and choice.startswith(name)]
    return f'did you mean "{close[0]}"?' if close else ""
