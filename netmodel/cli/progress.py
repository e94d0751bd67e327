"""How an up or a down gets on: a line a step, with a counter below it on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from netmodel.client import ApiError

_DONE = {
    "create": "created",
    "recreate": "recreated",
    "start": "started",
    "restart": "restarted",
    "stop": "stopped",
    "remove": "removed",
    "keep": "kept",
}


class Progress:
    """Steps as they come from the engine, told to stderr."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self.steps: list[dict[str, Any]] = []

    def follow(self, lines: Iterable[dict[str, Any]]) -> None:
        """Show every step until the work is done.

        Raises:
            ApiError: It failed; the steps before it are done.
        """
        try:
            for line in lines:
                if "error" in line:
                    error = line["error"]
                    raise ApiError(error["status"], error["message"], error.get("hint", ""), error.get("start_code", 0))
                if "action" in line:
                    self._step(line)
        finally:
            self._clear()

    def _step(self, step: dict[str, Any]) -> None:
        if step["state"] == "started":
            self._status(step)
            return
        self.steps.append(step)
        if step["action"] == "keep" and step["state"] == "done":
            return  # nothing happened
        self._clear()
        sys.stderr.write(self._line(step) + "\n")
        self._status(step)

    def _line(self, step: dict[str, Any]) -> str:
        what = f"{step['kind']} {step['name']}"
        if step["state"] == "failed":
            mark, words = ("\x1b[31m✗\x1b[0m ", "failed") if self._terminal else ("", "failed")
            return f"{mark}{what} {words}: {step.get('detail', '')}"
        took = f" ({step.get('took_s', 0) * 1000:.0f} ms)" if step.get("took_s") else ""
        mark = "\x1b[32m✓\x1b[0m " if self._terminal else ""
        return f"{mark}{what} {_DONE.get(step['action'], step['action'])}{took}"

    def _status(self, step: dict[str, Any]) -> None:
        if self._terminal and step.get("total"):
            sys.stderr.write(f"\r\x1b[K{step.get('done', 0)}/{step['total']} {step['kind']} {step['name']}")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
