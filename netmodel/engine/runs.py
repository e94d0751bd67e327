"""Containers that run, in memory: their control groups, who waits for their end, and what became of them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from netmodel.errors import Conflict
from netmodel.model import Container
from runtime.cgroups import Cgroup
from runtime.client import Exited


@dataclass(slots=True)
class Run:
    """One life of a container, from its start to its exit.

    Args:
        spawner: The process id of the one that it is a child of.
        exited: Set by the spawner's news, before anybody took a lock.
        keep: It is being restarted: its sandbox and its ports stay.
        asked: It has got its stop signal.
        stopped: Somebody wanted it to end.
        doomed: It ends for good, and its networks with it.
    """

    cgroup: Cgroup
    spawner: int
    exited: Future[Exited] = field(default_factory=Future)
    keep: bool = False
    asked: bool = False
    stopped: bool = False
    doomed: bool = False

    def end(self, news: Exited) -> None:
        with suppress(InvalidStateError):  # the spawner repeats its news to a new connection
            self.exited.set_result(news)


class Runs:
    """The running containers by id, and the futures of those who wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._next_exit: dict[str, list[Future[int]]] = {}
        self._removed: dict[str, list[Future[int]]] = {}

    def begin(self, container_id: str, cgroup: Cgroup, spawner: int) -> Run:
        run = Run(cgroup, spawner)
        with self._lock:
            self._runs[container_id] = run
        return run

    def get(self, container_id: str) -> Run | None:
        return self._runs.get(container_id)

    def of(self, container: Container) -> Run:
        """The run of a container that its record says to be running."""
        run = self._runs.get(container.id)
        if run is None:
            if container.state.status == "restarting":
                raise Conflict(f"container {container.name} is restarting", "wait until it runs")
            if not container.state.running:
                raise Conflict(f"container {container.name} does not run", f"start it: netmodel start {container.name}")
            raise Conflict(f"container {container.name} is just ending")
        return run

    def end(self, container_id: str) -> None:
        with self._lock:
            self._runs.pop(container_id, None)

    def ended(self, news: Exited) -> bool:
        """Note that a first process is gone; False when no run of ours is meant."""
        run = self._runs.get(news.id)
        if run is None:
            return False
        run.end(news)
        return True

    # --- who waits ------------------------------------------------------------------------------

    def next_exit(self, container_id: str) -> Future[int]:
        return self._wait(self._next_exit, container_id)

    def removal(self, container_id: str) -> Future[int]:
        return self._wait(self._removed, container_id)

    def give_up(self, container_id: str, future: Future[int]) -> None:
        """Nobody waits for this one any more."""
        future.cancel()
        with self._lock:
            waiting = self._next_exit.get(container_id, [])
            if future in waiting:
                waiting.remove(future)

    def tell_exit(self, container_id: str, exit_code: int) -> None:
        self._tell(self._next_exit, container_id, exit_code)

    def tell_removal(self, container_id: str, exit_code: int) -> None:
        self._tell(self._next_exit, container_id, exit_code)
        self._tell(self._removed, container_id, exit_code)

    def cancel(self) -> None:
        """The engine closes: nobody will be told."""
        with self._lock:
            waiting = [*self._next_exit.values(), *self._removed.values()]
            self._next_exit, self._removed = {}, {}
        for futures in waiting:
            for future in futures:
                future.cancel()

    def _wait(self, waiters: dict[str, list[Future[int]]], container_id: str) -> Future[int]:
        future: Future[int] = Future()
        with self._lock:
            waiters.setdefault(container_id, []).append(future)
        return future

    def _tell(self, waiters: dict[str, list[Future[int]]], container_id: str, exit_code: int) -> None:
        with self._lock:
            futures = waiters.pop(container_id, [])
        for future in futures:
            with suppress(InvalidStateError):
                future.set_result(exit_code)
