"""The table for people, and the same as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.measure import Samples
from bench.rows import COLUMNS, FLOOR, NOTES, OURS, Row

Results = Mapping[str, Mapping[str, Samples]]  # column, then row


def show(rows: list[Row], results: Results, missing: Mapping[str, str], out: IO[str] = sys.stdout) -> None:
    """Print medians and ratios; what could not be measured is named below, with its reason."""
    console = Console(file=out, highlight=False, width=None if out.isatty() else 150)
    columns = [column for column in COLUMNS if column in results or column in missing]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("operation")
    for heading in (*columns, "budget", "x floor", "x best peer"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        found = {column: _median(results, column, row) for column in columns}
        cells = [_cell(results, missing, column, row) for column in columns]
        table.add_row(Text(f"{row.name} [{row.unit}]"), *cells, *_judged(row, found))
    console.print(table)
    for line in NOTES:
        console.print(line, style="dim")
    for line in _failures(rows, results, missing):
        console.print(line, style="yellow")


def as_json(rows: list[Row], results: Results, missing: Mapping[str, str]) -> dict[str, Any]:
    return {
        "missing": dict(missing),
        "rows": [
            {
                "operation": row.name,
                "unit": row.unit,
                "budget": row.budget,
                **{column: _samples_json(found[row.name]) for column, found in results.items() if row.name in found},
            }
            for row in rows
        ],
    }


def _median(results: Results, column: str, row: Row) -> float | None:
    samples = results.get(column, {}).get(row.name)
    return samples.median if samples else None


def _cell(results: Results, missing: Mapping[str, str], column: str, row: Row) -> Text:
    samples = results.get(column, {}).get(row.name)
    if column in missing and samples is None:
        return Text("missing", style="yellow")
    if samples is None:
        return Text("")
    if samples.failure:
        return Text("failed", style="bold red") if samples.asked else Text("too slow", style="yellow")
    return Text(number(samples.median))


def _judged(row: Row, found: Mapping[str, float | None]) -> tuple[Text, Text, Text]:
    ours, floor = found.get(OURS), found.get(FLOOR)
    budget = Text("" if row.budget is None else number(row.budget))
    if row.budget is not None and row.at_least:
        budget = Text(f">= {number(row.budget)}")
    if ours is not None and row.budget is not None:
        kept = ours >= row.budget if row.at_least else ours <= row.budget
        budget.stylize("green" if kept else "red")
        if not kept:
            budget.append(" !")
    peers = [value for column, value in found.items() if column not in (OURS, FLOOR) and value is not None]
    to_floor = f"{ours / floor:.1f}" if ours and floor else ""
    to_peer = ""
    if ours is not None and ours > 0 and peers:
        to_peer = f"{ours / max(peers):.1f}" if row.at_least else f"{min(peers) / ours:.1f}"
    return budget, Text(to_floor), Text(to_peer)


def number(value: float | None) -> str:
    """To three digits or so."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _failures(rows: list[Row], results: Results, missing: Mapping[str, str]) -> list[str]:
    lines = [f"{column} is missing: {reason}" for column, reason in missing.items()]
    for column, found in results.items():
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if (samples := found.get(row.name)) and samples.failure:
                word = "failed" if samples.asked else "too slow"
                reasons.setdefault(f"{word}: {samples.failure}", []).append(row.name)
        lines += [f"{column}, {'; '.join(names)}: {reason}" for reason, names in reasons.items()]
    return lines


def _samples_json(samples: Samples) -> dict[str, Any]:
    if samples.failure:
        return {"failure": samples.failure}
    return {"median": samples.median, "samples": [round(value, 4) for value in samples.values]}
