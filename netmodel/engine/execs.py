"""Programs run beside a container's first process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.files import hostname_of
from netmodel.engine.launch import capabilities_of, process_with
from netmodel.engine.names import new_id
from netmodel.engine.values import ExecConfig, ExecState
from netmodel.errors import Conflict, Invalid, NotFound
from netmodel.model import Container
from runtime.client import ExecHandle
from runtime.spec import Process

_REMEMBERED = 1000  # ended ones, for whoever asks how they ended


@dataclass(slots=True)
class _Exec:
    state: ExecState
    handle: ExecHandle | None = None


class Execs:
    """Made first, started later, as the API has it. They live in memory: an engine that dies ends none, but forgets."""

    def __init__(self, core: Core, containers: Containers) -> None:
        self._core = core
        self._containers = containers
        self._lock = threading.Lock()
        self._execs: OrderedDict[str, _Exec] = OrderedDict()

    def create(self, ref: str, config: ExecConfig) -> str:
        container = self._containers.find(ref)
        if container.state.status == "paused":
            raise Conflict(f"container {container.name} is paused", "unpause it first")
        if not container.state.running:
            raise Conflict(f"container {container.name} does not run", f"start it: netmodel start {container.name}")
        if not config.command:
            raise Invalid("no command is given", "say what to run")
        exec_id = new_id()
        with self._lock:
            self._execs[exec_id] = _Exec(ExecState(id=exec_id, container_id=container.id, config=config))
            self._forget_old()
        self._event("create", container, exec_id, config)
        return exec_id

    def start(self, exec_id: str, stdio: Any = None) -> ExecHandle:
        found = self._find(exec_id)
        if found.handle is not None:
            raise Conflict(f"exec {exec_id[:12]} was started already")
        container = self._containers.find(found.state.container_id)
        process = process_in(self._core, self._containers, container, found.state.config)
        handle = self._core.spawner.exec(container.id, process, stdio)
        found.handle = handle
        found.state = replace(found.state, running=True, pid=handle.pid)
        self._event("start", container, exec_id, found.state.config)
        # Noted in any case: the API may ask how it ended without anybody having waited.
        handle.ended.add_done_callback(lambda ended: self._note_end(container, found, ended))
        return handle

    def detached(self, exec_id: str) -> None:
        """Who was at its terminal has left, and it runs on."""
        state = self._find(exec_id).state
        container = self._core.records.containers.get(state.container_id)
        if state.running and container is not None:
            self._containers.event("exec_detach", container, execID=exec_id)

    def _event(self, action: str, container: Container, exec_id: str, config: ExecConfig) -> None:
        self._containers.event(f"exec_{action}: {' '.join(config.command)}", container, execID=exec_id)

    def _note_end(self, container: Container, found: _Exec, ended: Future[int]) -> None:
        # Without an exit code the spawner died, and everything with it.
        code = ended.result() if ended.exception() is None else 137
        found.state = replace(found.state, running=False, exit_code=code, pid=0)
        self._containers.event("exec_die", container, execID=found.state.id, exitCode=str(code))

    def inspect(self, exec_id: str) -> ExecState:
        return self._find(exec_id).state

    def running(self, container_id: str) -> list[str]:
        with self._lock:
            found = list(self._execs.values())
        return [one.state.id for one in found if one.state.running and one.state.container_id == container_id]

    def resize(self, exec_id: str, rows: int, columns: int) -> None:
        found = self._find(exec_id)
        if found.handle is None:
            raise Conflict(f"exec {exec_id[:12]} does not run")
        found.handle.resize(rows, columns)

    def _find(self, exec_id: str) -> _Exec:
        with self._lock:
            found = self._execs.get(exec_id)
        if found is None:
            raise NotFound(f"no such exec: {exec_id}")
        return found

    def _forget_old(self) -> None:
        for exec_id, found in list(self._execs.items()):
            if len(self._execs) <= _REMEMBERED:
                return
            if not found.state.running and found.handle is not None:
                del self._execs[exec_id]


def process_in(core: Core, containers: Containers, container: Container, wanted: ExecConfig) -> Process:
    """A further process as its container would have it: with its environment, rights, user and place."""
    config = container.config
    hostname = config.hostname or hostname_of(container)
    base = process_with(wanted.command, wanted.tty, config, containers.image_of(container), hostname)
    base = core.confinement.of(base, container)
    environment = dict(base.environment)
    environment.update(wanted.environment)
    return replace(
        base,
        environment=tuple(environment.items()),
        working_dir=wanted.working_dir or base.working_dir,
        user=wanted.user or base.user,
        capabilities=capabilities_of(replace(config, privileged=True)) if wanted.privileged else base.capabilities,
    )
