"""Results as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

from netmodel.probe.matrix import Cell, Matrix
from netmodel.probe.result import Outcome, Result, title

UNWRAPPED = 4000  # columns: a line a result in a pipe, for grep

_MARKS = {"held": "✓", "failed": "✗", "inconclusive": "?"}
_COLOURS = {"held": "green", "failed": "bold red", "inconclusive": "yellow"}
_CELLS = {"reached": "✓", "closed": "○", "silent": "✗", "refused": "✗", "unknown": "?", "self": "·"}
_PLAIN_CELLS = {"reached": "yes", "closed": "shut", "silent": "no", "refused": "no", "unknown": "?", "self": "-"}
_CELL_COLOURS = {"reached": "green", "closed": "yellow", "silent": "red", "refused": "red"}


def render_table(results: Sequence[Result], out: IO[str]) -> None:
    """Print a line an expectation: colours and marks on a terminal, plain words in a pipe.

    What did not hold is explained below its line, outcome by outcome.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, highlight=False, width=None if out.isatty() else UNWRAPPED)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "expectation", "what was sent, what came back"):
        table.add_column(heading, overflow="fold")
    table.add_column("took", justify="right", no_wrap=True)
    for result in results:
        verdict = result.verdict
        mark = f"{_MARKS[verdict]} {verdict}" if out.isatty() else verdict
        lines = [result.decisive.reason] if len(result.outcomes) == 1 else _each(result)
        table.add_row(
            Text(mark, style=_COLOURS[verdict]), Text(title(result.expectation)), Text("\n".join(lines)), _took(result)
        )
    console.print(table)
    console.print(summary(results))


def summary(results: Sequence[Result]) -> str:
    """One line: how many hold, fail, show nothing."""
    if not results:
        return "no expectation ran"
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in _MARKS}
    words = [f"{counts['held']} of {len(results)} hold"]
    words += [f"{counts[verdict]} {verdict}" for verdict in ("failed", "inconclusive") if counts[verdict]]
    return ", ".join(words)


def to_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {
            "expectation": title(result.expectation),
            "source": result.expectation.source,
            "target": result.expectation.target,
            "reachable": result.expectation.reachable,
            "via": result.expectation.via,
            "port": result.expectation.port,
            "where": result.expectation.where,
            "verdict": result.verdict,
            "reason": result.decisive.reason,
            "took_s": round(result.took_s, 4),
            "outcomes": [_outcome_json(outcome) for outcome in result.outcomes],
        }
        for result in results
    ]


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in Outcome.__slots__} | {"took_s": round(outcome.took_s, 4)}


def _each(result: Result) -> list[str]:
    """Several outcomes: only those that decided it, or how many held."""
    if result.verdict == "held":
        return [f"all {len(result.outcomes)}: {result.decisive.reason}"]
    return [
        f"{outcome.source} to {outcome.target} ({outcome.address}): {outcome.reason}"
        for outcome in result.outcomes
        if outcome.verdict == result.verdict
    ]


def _took(result: Result) -> str:
    return f"{result.took_s * 1000:.0f} ms" if result.took_s < 1 else f"{result.took_s:.1f} s"


def matrix_table(matrix: Matrix, out: IO[str]) -> None:
    """Print who (rows) reaches whom (columns), and a line that says how many do."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = out.isatty()
    console = Console(file=out, highlight=False, width=None if terminal else UNWRAPPED)
    marks = _CELLS if terminal else _PLAIN_CELLS
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"from \\ to ({matrix.what})", no_wrap=True)
    # Long names across the top would leave no room: numbers stand for them, each row is its own key.
    numbered = sum(len(name) + 1 for name in matrix.names) > (console.width * 2 // 3 if terminal else UNWRAPPED)
    for index, name in enumerate(matrix.names):
        table.add_column(str(index + 1) if numbered else name, justify="center", no_wrap=True)
    for index, (name, row) in enumerate(zip(matrix.names, matrix.cells, strict=True)):
        label = f"{index + 1} {name}" if numbered else name
        table.add_row(label, *(Text(marks[cell.kind], style=_CELL_COLOURS.get(cell.kind, "")) for cell in row))
    console.print(table)
    console.print(_counts(matrix))


def _counts(matrix: Matrix) -> str:
    cells = [cell for row in matrix.cells for cell in row if cell.kind != "self"]
    reached = sum(cell.kind == "reached" for cell in cells)
    closed = sum(cell.kind == "closed" for cell in cells)
    unknown = sum(cell.kind == "unknown" for cell in cells)
    words = [f"{reached} of {len(cells)} reach"]
    words += [f"{closed} find the port closed"] if closed else []
    words += [f"{unknown} could not be asked"] if unknown else []
    return f"{', '.join(words)} ({matrix.what}, {matrix.took_s:.2f} s)"


def matrix_json(matrix: Matrix) -> dict[str, Any]:
    return {
        "what": matrix.what,
        "names": list(matrix.names),
        "took_s": round(matrix.took_s, 4),
        "cells": [
            {"source": source, "target": target, **_cell_json(cell)}
            for source, row in zip(matrix.names, matrix.cells, strict=True)
            for target, cell in zip(matrix.names, row, strict=True)
            if cell.kind != "self"
        ],
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "result": cell.kind,
        "address": cell.address,
        "rtt_ms": round(cell.rtt_s * 1000, 3) if cell.kind in ("reached", "closed") else None,
        "reason": cell.reason,
    }
