"""Things to do at a time to come, each once, by a key: what is set again or taken back does not happen."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Timetable:
    """One thread waits for all; each thing is done in a thread of its own.

    Args:
        name: Of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, str]] = []
        self._tickets: dict[str, int] = {}  # which entry of a key counts
        self._count = 0
        self._do: Callable[[str], None] | None = None
        self._thread: threading.Thread | None = None

    def open(self, do: Callable[[str], None]) -> None:
        """Begin; what was set before is not lost.

        Args:
            do: Called with the key; what it raises is its own business.
        """
        self._do = do
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nothing is begun any more."""
        with self._changed:
            self._do = None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def set(self, key: str, wait_s: float) -> None:
        with self._changed:
            self._count += 1
            self._tickets[key] = self._count
            heapq.heappush(self._due, (time.monotonic() + wait_s, self._count, key))
            self._changed.notify()

    def cancel(self, key: str) -> None:
        with self._changed:
            self._tickets.pop(key, None)

    def _run(self) -> None:
        while (key := self._next()) is not None:
            threading.Thread(target=self._begin, args=(key,), name=self._name, daemon=True).start()

    def _next(self) -> str | None:
        with self._changed:
            while self._do is not None:
                left_s = self._due[0][0] - time.monotonic() if self._due else None
                if left_s is None or left_s > 0:
                    self._changed.wait(left_s)
                    continue
                _, ticket, key = heapq.heappop(self._due)
                if self._tickets.get(key) == ticket:
                    del self._tickets[key]
                    return key
        return None

    def _begin(self, key: str) -> None:
        do = self._do
        if do is not None:
            with suppress(Exception):
                do(key)
