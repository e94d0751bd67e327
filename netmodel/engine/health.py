"""Health checks: a program run in the container again and again, and what its exit codes amount to."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.execs import process_in
from netmodel.engine.healthconfig import resolve
from netmodel.engine.probes import run_probe
from netmodel.engine.timetable import Timetable
from netmodel.engine.values import ExecConfig, Health, HealthResult
from netmodel.errors import translate
from netmodel.model import Container, HealthConfig

Status = Literal["starting", "healthy", "unhealthy"]
# Docker's is 5 s, which is what users of a quick service then wait for.
_START_INTERVAL_S = 0.1
_REMEMBERED = 5


@dataclass(slots=True)
class _Check:
    """Of one life of a container."""

    config: HealthConfig
    begun: float
    streak: int = 0
    results: deque[HealthResult] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class HealthChecks:
    """One for each running container that has one, from its start to its end."""

    def __init__(self, core: Core, containers: Containers) -> None:
        self._core = core
        self._containers = containers
        self._timetable = Timetable("health")
        self._lock = threading.Lock()
        self._checks: dict[str, _Check] = {}
        self._waiting: dict[str, list[Future[str]]] = {}

    def open(self) -> None:
        self._timetable.open(self._probe)

    def close(self) -> None:
        self._timetable.close()
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                future.cancel()

    def wanted(self, container: Container) -> HealthConfig | None:
        """How a container is checked, the image's and the usual values filled in; None if it is not."""
        try:
            image = self._containers.image_of(container)
        except Exception:  # the image is gone; what runs is looked at as its own config says
            image = None
        return resolve(container.config.health, image)

    def begin(self, container_id: str, grace: bool = True) -> None:
        """It runs now.

        Args:
            grace: It has just started; else it ran on while no engine was there.
        """
        container = self._core.records.containers.get(container_id)
        config = self.wanted(container) if container is not None else None
        if config is None:
            return
        with self._lock:
            self._checks[container_id] = _Check(config, time.monotonic() if grace else float("-inf"))
        self._timetable.set(container_id, 0)

    def end(self, container_id: str, final: bool) -> None:
        """It ended.

        Args:
            final: Who waits for its health waits in vain; else another life follows.
        """
        self._timetable.cancel(container_id)
        with self._lock:
            self._checks.pop(container_id, None)
        if final:
            self._tell(container_id, "ended")

    def of(self, container: Container) -> Health | None:
        """What is known of its health; None without a check."""
        if not container.state.health:
            return None
        check = self._checks.get(container.id)
        results = tuple(check.results) if check else ()
        return Health(status=container.state.health, failing_streak=check.streak if check else 0, log=results)

    def settled(self, container_id: str) -> Future[str]:
        """What becomes of it: "healthy", "unhealthy", "ended"; "none" when it is not checked."""
        future: Future[str] = Future()
        with self._lock:
            self._waiting.setdefault(container_id, []).append(future)
        # Looked at after we wait: a change between the two would never be told.
        container = self._core.records.containers.get(container_id)
        if container is None or not container.state.running:
            self._tell(container_id, "ended")
        elif not container.state.health:
            self._tell(container_id, "none")
        elif container.state.health != "starting":
            self._tell(container_id, container.state.health)
        return future

    def _tell(self, container_id: str, outcome: str) -> None:
        with self._lock:
            waiting = self._waiting.pop(container_id, [])
        for future in waiting:
            with suppress(InvalidStateError):
                future.set_result(outcome)

    # --- one look -------------------------------------------------------------------------------

    def _probe(self, container_id: str) -> None:
        container, check = self._core.records.containers.get(container_id), self._checks.get(container_id)
        if container is None or check is None:
            return
        took_s = 0.0
        try:
            if container.state.status == "running":
                result = self._look(container, check.config)
                took_s = (result.end - result.start).total_seconds()
                self._take(container_id, check, result)
        finally:
            if self._checks.get(container_id) is check:
                status = getattr(self._core.records.containers.get(container_id), "state", container.state).health
                self._timetable.set(container_id, _wait_s(check, status, took_s))

    def _look(self, container: Container, config: HealthConfig) -> HealthResult:
        start = datetime.now(UTC)
        kind, *argv = config.test
        command = tuple(argv) if kind == "CMD" else ("/bin/sh", "-c", " ".join(argv))
        try:
            process = process_in(self._core, self._containers, container, ExecConfig(command=command))
            code, output = run_probe(self._core.spawner, container.id, process, config.timeout_s)
        except Exception as error:
            code, output = -1, str(translate(error))
        return HealthResult(start=start, end=datetime.now(UTC), exit_code=code, output=output)

    def _take(self, container_id: str, check: _Check, result: HealthResult) -> None:
        """Count a result, and tell when it changes what is known."""
        with self._core.locks.containers([container_id]):
            container = self._core.records.containers.get(container_id)
            if container is None or self._checks.get(container_id) is not check:
                return  # it ended while we looked
            check.results.append(result)
            before = container.state.health
            status = _after(check, result, before)
            if status == before:
                return
            self._core.records.note(replace(container, state=replace(container.state, health=status)))
        self._containers.event(f"health_status: {status}", container)
        if status != "starting":
            self._tell(container_id, status)


def _in_grace(check: _Check) -> bool:
    """Whether a failure is no news yet.

    Without a start period Docker looks for the first time after one interval. We look before, to see at
    once when it is ready; that it is not yet does not count before Docker would have seen it, either.
    """
    return time.monotonic() - check.begun < max(check.config.start_period_s, check.config.interval_s)


def _after(check: _Check, result: HealthResult, before: str) -> Status:
    if result.exit_code == 0:
        check.streak = 0
        return "healthy"
    if before == "starting" and _in_grace(check):
        return "starting"
    check.streak += 1
    if check.streak >= check.config.retries:
        return "unhealthy"
    return "healthy" if before == "healthy" else "unhealthy" if before == "unhealthy" else "starting"


def _wait_s(check: _Check, status: str, took_s: float) -> float:
    """Until the next look, in seconds."""
    config = check.config
    if status != "starting":
        return config.interval_s
    grace_s = check.begun + max(config.start_period_s, config.interval_s) - time.monotonic()
    if grace_s <= 0:
        return config.interval_s
    # Of a check that takes long, a default must not make most of what the container does.
    wait_s = config.start_interval_s or max(_START_INTERVAL_S, 2 * took_s)
    return min(wait_s, config.interval_s, max(grace_s, 0.001))
