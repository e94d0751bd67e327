"""Quantities as people write and read them."""

from __future__ import annotations

import re
import time

import click

_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "ms": 0.001}


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


def moment(text: str | None) -> str:
    """A time for the API: a duration ("5m") is that long ago; anything else is left to the engine to read."""
    if not text or not re.fullmatch(r"(\d+(\.\d+)?(ms|[smhd]))+", text):
        return text or ""
    ago_s = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd])", text))
    return f"{time.time() - ago_s:.6f}"


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g}{unit}"
        count /= 1024
    return f"{count:.4g}TiB"
