"""Restart policies: whether a container that ended starts again, and when.

The waiting grows with each life that ends within ten seconds, as Docker's does. Starting is left to
whoever opens this.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from netmodel.model import Container, RestartPolicy
from runtime.client import Exited

# Source: moby daemon/restartmanager.go.
FIRST_S = 0.1
_MOST_S = 60.0
_SETTLED_S = 10.0


class Restarts:
    """The containers that wait for their next life, soonest first; one thread for all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, str]] = []
        self._tickets: dict[str, int] = {}  # which entry of a container counts
        self._waits: dict[str, float] = {}  # seconds, the last one of each container
        self._count = 0
        self._start: Callable[[str], None] | None = None
        self._thread: threading.Thread | None = None

    def open(self, start: Callable[[str], None]) -> None:
        """Begin.

        Args:
            start: Called with a container's id, in a thread of its own, once its time has come.
        """
        self._start = start
        self._thread = threading.Thread(target=self._run, name="restarts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Those that wait are left to the next engine."""
        with self._changed:
            self._start = None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def schedule(self, container_id: str, wait_s: float = FIRST_S) -> None:
        with self._changed:
            self._count += 1
            self._tickets[container_id] = self._count
            heapq.heappush(self._due, (time.monotonic() + wait_s, self._count, container_id))
            self._changed.notify()

    def cancel(self, container_id: str) -> None:
        """Somebody started it, stopped it or removed it: what came before counts no more."""
        with self._changed:
            self._tickets.pop(container_id, None)
            self._waits.pop(container_id, None)

    def wait_after(self, container: Container, news: Exited) -> float | None:
        """How long to wait before its next life, in seconds; None when there is to be none."""
        if not wanted(container.config.restart, news.exit_code, container.restart_count):
            return None
        started = container.state.started_at
        ran_s = news.at - started.timestamp() if started else 0.0
        before = 0.0 if ran_s >= _SETTLED_S else self._waits.get(container.id, 0.0)
        self._waits[container.id] = min(before * 2, _MOST_S) if before else FIRST_S
        return self._waits[container.id]

    def _run(self) -> None:
        while (container_id := self._next()) is not None:
            threading.Thread(target=self._begin, args=(container_id,), name="restart", daemon=True).start()

    def _next(self) -> str | None:
        with self._changed:
            while self._start is not None:
                left_s = self._due[0][0] - time.monotonic() if self._due else None
                if left_s is not None and left_s <= 0:
                    _, ticket, container_id = heapq.heappop(self._due)
                    if self._tickets.get(container_id) == ticket:
                        del self._tickets[container_id]
                        return container_id
                    continue
                self._changed.wait(left_s)
        return None

    def _begin(self, container_id: str) -> None:
        start = self._start
        if start is not None:
            with suppress(Exception):  # told in its record and by an event; there is no caller here
                start(container_id)


def wanted(policy: RestartPolicy, exit_code: int, restarts: int) -> bool:
    """Whether a container that nobody stopped is to start again."""
    if policy.name == "on-failure":
        return exit_code != 0 and (policy.max_retries == 0 or restarts < policy.max_retries)
    return policy.name in ("always", "unless-stopped")
