"""Ending containers: ask, wait, kill."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.exits import Exits
from netmodel.engine.launch import signal_number
from netmodel.engine.refusals import unless
from netmodel.engine.runs import Runs
from netmodel.errors import Unavailable
from netmodel.model import Container

# A process that got SIGKILL is gone at once, unless it hangs in the kernel (a dead NFS server).
KILL_S = 30.0


class Stopping:
    """Signals to first processes, and what they are to lead to."""

    def __init__(self, core: Core, containers: Containers, runs: Runs, exits: Exits) -> None:
        self._core = core
        self._containers = containers
        self._runs = runs
        self._exits = exits

    def end(self, container: Container, timeout_s: float | None, signal_: str = "") -> None:
        """Signal, wait, kill, settle. The caller holds the container's lock.

        Args:
            signal_: Instead of the container's own stop signal.
        """
        if container.state.status == "restarting":
            self._exits.stay_down(container)
            return
        run = self._runs.of(container)
        wanted = signal_number(signal_ or container.config.stop_signal)
        grace = container.config.stop_timeout_s if timeout_s is None else timeout_s
        if container.state.status == "paused":
            run.cgroup.thaw()
        if grace != 0 and _is_heard(container.state.pid, wanted):
            if not run.asked:
                self.signal(container, wanted)
            with suppress(FutureTimeout):
                self._exits.settle(container, run.exited.result(None if grace < 0 else grace))
                return
        self.kill_and_settle(container)

    def ask_to_end(self, containers: Iterable[Container]) -> None:
        """Send many their stop signals at once, so that they all have their time to end side by side."""
        for container in containers:
            run = self._runs.get(container.id)
            wanted = signal_number(container.config.stop_signal)
            if run is not None and container.state.status == "running" and _is_heard(container.state.pid, wanted):
                run.asked = True
                self.signal(container, wanted)

    def kill_and_settle(self, container: Container) -> None:
        """Give it no time. The caller holds the container's lock."""
        if container.state.status == "restarting":
            self._exits.stay_down(container)
            return
        run = self._runs.of(container)
        self.signal(container, signal.SIGKILL)
        try:
            news = run.exited.result(KILL_S)
        except FutureTimeout:
            raise Unavailable(
                f"container {container.name} does not end, not even by SIGKILL: its process hangs in the kernel",
                f"see /proc/{container.state.pid}/stack",
            ) from None
        self._exits.settle(container, news)

    def signal(self, container: Container, number: int) -> None:
        with unless("not_found", "conflict"):  # it is just ending
            self._core.spawner.signal(container.id, number)
        if number == signal.SIGKILL and container.state.status == "paused":
            self._runs.of(container).cgroup.thaw()  # on cgroup v1 it dies no sooner
        self._containers.event("kill", container, signal=str(int(number)))


def _is_heard(pid: int, number: int) -> bool:
    """Whether a first process would notice a signal.

    The kernel drops signals that the first process of a PID namespace neither catches nor blocks
    (man 7 pid_namespaces); waiting for one to have an effect would be in vain.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    if _waits_for_signals(pid):
        return True
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("SigCgt", "SigBlk")))
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())


def _waits_for_signals(pid: int) -> bool:
    """Whether it sits in sigtimedwait(2), as tini does: meanwhile the kernel shows what it blocks as not blocked."""
    try:
        return "sigtimedwait" in Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False
