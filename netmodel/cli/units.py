"""Quantities as people write and read them."""

from __future__ import annotations

import re
import time

import click

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(\.\d+)?(ms|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


class Size(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Bytes, with an optional k, m, g or t: powers of 1024, as Docker's."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", str(value).lower())
        if not found:
            self.fail(f"{value!r} is not a size like 64m or 1g", param, ctx)
        return int(float(found[1]) * _SIZES[found[2]])


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, written as Go's durations are: 500ms, 30s, 1m30s."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        text = str(value)
        if not _DURATION.fullmatch(text):
            self.fail(f"{value!r} is not a duration like 500ms, 30s or 1m30s", param, ctx)
        return _seconds(text)


def _seconds(text: str) -> float:
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def moment(text: str | None) -> str:
    """A time for the API: a duration ("5m") is that long ago, "-5m" to come; all else is left to the engine to read."""
    way = (text or "").removeprefix("-")
    if not text or not _DURATION.fullmatch(way):
        return text or ""
    ago_s = _seconds(way)
    return f"{time.time() - (ago_s if way == text else -ago_s):.6f}"


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g}{unit}"
        count /= 1024
    return f"{count:.4g}TiB"
