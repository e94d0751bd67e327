"""How a pull, push or load gets on: on a terminal a bar a layer, elsewhere a line for each thing that is done."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from netmodel.client import ApiError

_WIDTH = 30
# In between, and of no interest where lines stay.
_FLEETING = ("Downloading", "Pushing", "Loading layer", "Extracting", "Preparing", "Verifying Checksum",
             "Pulling fs layer", "Compressing", "Download complete")  # fmt: skip


class Transfer:
    """Lines as they come from the engine, told to stderr.

    Attributes:
        last: What was said of the whole, in order.
        results: What was made.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._rows: dict[str, int] = {}
        self.last: list[str] = []
        self.results: list[str] = []

    def follow(self, lines: Iterable[dict[str, Any]]) -> None:
        """Show everything until it is done.

        Raises:
            ApiError: It failed.
        """
        for line in lines:
            if "error" in line:
                detail = line.get("errorDetail") or {}
                raise ApiError(int(detail.get("code") or 500), line["error"], detail.get("hint", ""), 0)
            if "stream" in line:
                self.results.append(line["stream"].strip())
            elif line.get("id") and not str(line.get("status", "")).startswith("Pulling from"):
                self._part(line)
            else:
                self._whole(line)

    def _whole(self, line: dict[str, Any]) -> None:
        text = f"{line['id']}: {line['status']}" if line.get("id") else str(line.get("status", ""))
        self.last.append(text)
        self._print(text)

    def _part(self, line: dict[str, Any]) -> None:
        text = f"{line['id']}: {line['status']}"
        if not self._terminal:
            if line["status"] not in _FLEETING:
                self._print(text)
            return
        if self._quiet:
            return
        figures = line.get("progressDetail") or {}
        if figures.get("total"):
            text = f"{text:<28} {_bar(figures['current'], figures['total'])}"
        row = self._rows.get(line["id"])
        if row is None:
            self._rows[line["id"]] = len(self._rows)
            sys.stderr.write(f"{text}\n")
        else:
            up = len(self._rows) - row
            sys.stderr.write(f"\x1b[{up}A\r\x1b[K{text}\x1b[{up}B\r")
        sys.stderr.flush()

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        self._rows.clear()  # what stands above stays as it is
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _bar(current: int, total: int) -> str:
    done = min(current * _WIDTH // total, _WIDTH)
    return f"[{'=' * done}{' ' * (_WIDTH - done)}] {current / 1e6:.1f}/{total / 1e6:.1f} MB"
