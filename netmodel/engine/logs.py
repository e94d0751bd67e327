"""What a container wrote, from the file that the spawner keeps."""

from __future__ import annotations

import select
from collections.abc import Collection, Iterator
from datetime import datetime

from netmodel.engine.containers import Containers
from netmodel.engine.lifecycle import Lifecycle
from netmodel.model import Container
from runtime import logs
from runtime.logs import LogEntry, Stop, StopSignal


class Logs:
    """Reads logs; following one ends with its container."""

    def __init__(self, containers: Containers, lifecycle: Lifecycle) -> None:
        self._containers = containers
        self._lifecycle = lifecycle

    def read(
        self,
        ref: str,
        follow: bool,
        tail: int | None,
        since: datetime | None,
        until: datetime | None,
        streams: Collection[str],
        stop: Stop | None,
    ) -> Iterator[LogEntry]:
        """Entries, oldest first; with follow until the container ends or stop is set."""
        container = self._containers.find(ref)
        if follow:
            return self._follow(container, tail, since, until, streams, stop)
        return logs.read(self._containers.files(container.id).log, tail, since, until, streams)

    def _follow(
        self,
        container: Container,
        tail: int | None,
        since: datetime | None,
        until: datetime | None,
        streams: Collection[str],
        stop: Stop | None,
    ) -> Iterator[LogEntry]:
        ended = StopSignal()
        waiting = self._lifecycle.wait(container.id, "not-running")
        waiting.add_done_callback(lambda future: None if future.cancelled() else ended.set())
        either = _either(ended, stop)
        try:
            yield from logs.follow(self._containers.files(container.id).log, either, tail, since, until, streams)
        finally:
            self._lifecycle.runs.give_up(container.id, waiting)
            if isinstance(either, _Either):
                either.close()
            ended.close()


def _either(ended: StopSignal, stop: Stop | None) -> Stop:
    if stop is None:
        return ended
    return _Either(ended, stop) if hasattr(stop, "fileno") else _Polled(ended, stop)


class _Polled:
    """Two reasons to stop, of which the second can only be asked again and again."""

    def __init__(self, one: Stop, other: Stop) -> None:
        self._both = one, other

    def is_set(self) -> bool:
        return any(one.is_set() for one in self._both)


class _Either(_Polled):
    """Two reasons to stop, waited for together: an epoll instance can be waited for like what is in it."""

    def __init__(self, one: Stop, other: Stop) -> None:
        super().__init__(one, other)
        self._epoll = select.epoll()
        for signal in (one, other):
            self._epoll.register(signal.fileno(), select.EPOLLIN)  # type: ignore[attr-defined]

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()
