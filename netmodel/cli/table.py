"""Aligned tables for people: no frames, no colours, columns as wide as they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def show(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
