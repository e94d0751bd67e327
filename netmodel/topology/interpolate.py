"""Variables in a value: $NAME, ${NAME}, ${NAME:-default}, ${NAME:?message}, ${NAME:+other}, and $$ for a dollar.

Source: the Compose specification, 12-interpolation.md. Without the colon only an unset variable
counts; with it an empty one does, too. Defaults, messages and alternatives may hold variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
MAX_DEPTH = 20


class BadVariable(ValueError):
    """The text names a variable in a way that cannot be read, or one that must be set and is not."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def interpolate(text: str, variables: Mapping[str, str], on_missing: Callable[[str], None] | None = None) -> str:
    """Put variables' values in place.

    Args:
        on_missing: Told the name of each variable that is not set and has no default; it becomes "".

    Raises:
        BadVariable: Says which.
    """
    if "$" not in text:
        return text
    value, _ = _Template(text, variables, on_missing).until_end()
    return value


def names_in(text: str) -> list[str]:
    """Which variables a text without operators names; for messages."""
    return [match[1] for match in re.finditer(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text)]


class _Template:
    def __init__(self, text: str, variables: Mapping[str, str], on_missing: Callable[[str], None] | None) -> None:
        self._text = text
        self._variables = variables
        self._on_missing = on_missing or (lambda name: None)

    def until_end(self) -> tuple[str, int]:
        return self._run(0, 0, live=True)

    def _run(self, at: int, depth: int, *, live: bool) -> tuple[str, int]:
        """Read to the end of the text or, inside braces, to the one that closes them.

        live is False in the branch that is not taken: nothing in it is required or missing.
        """
        text = self._text
        parts: list[str] = []
        while at < len(text):
            if depth and text[at] == "}":
                return "".join(parts), at
            if text[at] != "$":
                end = at
                while end < len(text) and text[end] != "$" and not (depth and text[end] == "}"):
                    end += 1
                parts.append(text[at:end])
                at = end
                continue
            value, at = self._dollar(at, depth, live)
            parts.append(value)
        if depth:
            raise BadVariable(f'"{_short(text)}" lacks a closing brace')
        return "".join(parts), at

    def _dollar(self, at: int, depth: int, live: bool) -> tuple[str, int]:
        text = self._text
        following = text[at + 1 : at + 2]
        if following == "$":
            return "$", at + 2
        braced = following == "{"
        match = _NAME.match(text, at + 1 + braced)
        if match is None:
            raise BadVariable(
                f'"{_short(text[at:])}" is no variable', "write $$ for a dollar sign, ${NAME} for a variable"
            )
        if not braced:
            return self._plain(match[0], live), match.end()
        return self._braced(match, depth, live)

    def _braced(self, match: re.Match[str], depth: int, live: bool) -> tuple[str, int]:
        text, name = self._text, match[0]
        if depth >= MAX_DEPTH:
            raise BadVariable(f"variables are nested deeper than {MAX_DEPTH} levels")
        if text[match.end() : match.end() + 1] == "}":
            return self._plain(name, live), match.end() + 1
        operator = _OPERATOR.match(text, match.end())
        if operator is None:
            raise BadVariable(
                f'"{_short(text[match.start() - 2 :])}" is no variable',
                "after the name come }, :-default, :?message or :+other",
            )
        kind = operator[0][-1]
        present = bool(self._variables.get(name)) if operator[0][0] == ":" else name in self._variables
        taken = present if kind == "+" else not present
        argument, end = self._run(operator.end(), depth + 1, live=live and taken)
        if kind == "?" and not present and live:
            raise BadVariable(
                f"the variable {name} must be set" + (f": {argument}" if argument else ""),
                f"set {name} in the environment or in .env",
            )
        if kind == "+":
            return (argument if present else ""), end + 1
        return (self._variables.get(name, "") if present else argument), end + 1

    def _plain(self, name: str, live: bool) -> str:
        value = self._variables.get(name)
        if value is None:
            if live:
                self._on_missing(name)
            return ""
        return value


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
