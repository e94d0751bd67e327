"""Files of NAME=value lines: `.env` beside a topology, and those env_file names.

Source: docs.docker.com, "Set environment variables": double quotes know escapes and variables,
single quotes nothing, and without quotes a comment begins at " #".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netmodel.topology.interpolate import BadVariable, interpolate

_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.\-]*)[ \t]*(?:[=:](.*))?", re.DOTALL)
_ESCAPE = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "$": "$$"}


class BadLine(ValueError):
    """A line that is no assignment.

    Args:
        line: From 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str, variables: Mapping[str, str], *, raw: bool = False) -> dict[str, str]:
    """Read assignments; later ones see earlier ones.

    Args:
        variables: The surroundings: what they set wins inside values, and gives a bare NAME its value.
        raw: Values are taken as they stand, without quotes, variables or comments.

    Raises:
        BadLine: The first line that cannot be read.
    """
    values: dict[str, str] = {}
    lines = text.removeprefix("\ufeff").split("\n")
    number = 0
    while number < len(lines):
        first = number
        line = lines[number].rstrip("\r")
        number += 1
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            raise BadLine(first + 1, f'"{stripped[:40]}" is not NAME=value')
        name, value = match[1], match[2]
        if value is None:
            if name in variables:
                values[name] = variables[name]
            continue
        if raw:
            values[name] = line.partition("=")[2]
            continue
        value = value.lstrip()
        if value[:1] in ("'", '"'):
            while _closing(value) < 0 and number < len(lines):
                value += "\n" + lines[number].rstrip("\r")
                number += 1
            if _closing(value) < 0:
                raise BadLine(first + 1, f"the value of {name} lacks its closing quote")
        try:
            values[name] = _value(value, {**values, **variables})
        except BadVariable as error:
            raise BadLine(first + 1, str(error)) from error
    return values


def _closing(value: str) -> int:
    """Where the quote that begins a value ends; -1 if it does not."""
    quote, at = value[0], 1
    while at < len(value):
        if value[at] == "\\" and quote == '"':
            at += 2
            continue
        if value[at] == quote:
            return at
        at += 1
    return -1


def _value(value: str, variables: Mapping[str, str]) -> str:
    if value.startswith("'"):
        return value[1 : _closing(value)]
    if value.startswith('"'):
        inside = value[1 : _closing(value)]
        inside = re.sub(r"\\(.)", lambda match: _ESCAPE.get(match[1], "\\" + match[1]), inside, flags=re.DOTALL)
        return interpolate(inside, variables)
    return interpolate(re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip(), variables)
