"""Restart policies: whether a container that ended starts again, and when.

The waiting grows with each life that ends within ten seconds, as Docker's does. Starting is left to
whoever opens this.
"""

from __future__ import annotations

from collections.abc import Callable

from netmodel.engine.timetable import Timetable
from netmodel.model import Container, RestartPolicy
from runtime.client import Exited

# Source: moby daemon/restartmanager.go.
FIRST_S = 0.1
_MOST_S = 60.0
_SETTLED_S = 10.0


class Restarts:
    """The containers that wait for their next life."""

    def __init__(self) -> None:
        self._timetable = Timetable("restart")
        self._waits: dict[str, float] = {}  # seconds, the last one of each container

    def open(self, start: Callable[[str], None]) -> None:
        """Begin.

        Args:
            start: Called with a container's id once its time has come.
        """
        self._timetable.open(start)

    def close(self) -> None:
        """Those that wait are left to the next engine."""
        self._timetable.close()

    def schedule(self, container_id: str, wait_s: float = FIRST_S) -> None:
        self._timetable.set(container_id, wait_s)

    def cancel(self, container_id: str) -> None:
        """Somebody started it, stopped it or removed it: what came before counts no more."""
        self._timetable.cancel(container_id)
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


def wanted(policy: RestartPolicy, exit_code: int, restarts: int) -> bool:
    """Whether a container that nobody stopped is to start again."""
    if policy.name == "on-failure":
        return exit_code != 0 and (policy.max_retries == 0 or restarts < policy.max_retries)
    return policy.name in ("always", "unless-stopped")
