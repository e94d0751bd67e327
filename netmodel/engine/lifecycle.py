"""A container's verbs: start, stop, restart, kill, pause, remove, wait; each a walk through the modules beside it.

starting.py runs it, stopping.py ends it, exits.py settles what is left, removal.py takes it away.
"""

from __future__ import annotations

import signal
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from netmodel.engine.attach import Attachments
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.exits import Exits
from netmodel.engine.health import HealthChecks
from netmodel.engine.launch import signal_number
from netmodel.engine.links import target_ids
from netmodel.engine.name_files import NameFiles
from netmodel.engine.namespaces import lender_ids
from netmodel.engine.removal import Removal
from netmodel.engine.restarts import FIRST_S, Restarts
from netmodel.engine.runs import Runs
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.shortage import Shortage
from netmodel.engine.starting import Starting
from netmodel.engine.stopping import KILL_S, Stopping
from netmodel.engine.undo import Undo
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Conflict, NotModified
from netmodel.model import Container
from runtime.cgroups import Stats

# Who sends one of these wants it to end, as who stops it does.
_ENDINGS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Lifecycle:
    """Every verb takes the container's lock, and its sandbox owner's where that matters."""

    def __init__(
        self, core: Core, containers: Containers, volumes: EngineVolumes, attachments: Attachments, sandboxes: Sandboxes
    ) -> None:
        self._core = core
        self._containers = containers
        self._attachments = attachments
        self._sandboxes = sandboxes
        self.name_files = NameFiles(core, containers)
        self.runs = Runs()
        self.removal = Removal(core, containers, sandboxes, self.runs)
        self.restarts = Restarts()
        self.health = HealthChecks(core, containers)
        self.shortage = Shortage(core, containers)
        self.exits = Exits(
            core,
            containers,
            volumes,
            attachments,
            sandboxes,
            self.runs,
            self.removal,
            self.restarts,
            self.health,
            self.shortage,
        )
        self.stopping = Stopping(core, containers, self.runs, self.exits)
        self.starting = Starting(core, containers, volumes, attachments, self.name_files, self.runs, self.health)

    def open(self) -> None:
        """Begin to listen to the spawner."""
        self.exits.open()
        self.restarts.open(self._start_again)
        self.health.open()

    def close(self) -> None:
        self.health.close()
        self.restarts.close()
        self.exits.close()
        self.shortage.close()
        self.runs.cancel()

    def start(self, ref: str) -> None:
        container = self._containers.find(ref)
        with self._core.locks.containers([*_with_owner(container), *self._attachments.predecessors(container)]):
            container = self._containers.find(container.id)
            if container.state.running:
                raise NotModified(f"container {container.name} is running already")
            self.restarts.cancel(container.id)
            self.starting.launch(replace(container, restart_count=0), inherit=True)
        self._tell_start(container)

    def _tell_start(self, container: Container) -> None:
        self._containers.event("start", container)
        self.health.begin(container.id)
        run = self.runs.get(container.id)
        if run is not None:
            self.shortage.begin(container, run.cgroup)

    def _start_again(self, container_id: str) -> None:
        """Its policy wants it."""
        container = self._core.records.containers.get(container_id)
        if container is None:
            return
        with self._core.locks.containers(_with_owner(container)):
            container = self._core.records.containers.get(container_id)
            if container is None or container.state.status != "restarting":
                return  # somebody stopped, started or removed it meanwhile
            if self.starting.waits_for_others(container):
                self.restarts.schedule(container.id, FIRST_S)
                return
            try:
                self.starting.launch(container)
            except Exception:
                self._leave_after_failed_restart(container)
                raise
        self._tell_start(container)

    def stop(self, ref: str, timeout_s: float | None = None, signal_: str = "") -> None:
        signal_number(signal_ or "SIGTERM")
        container = self._containers.find(ref)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            if not container.state.running:
                raise NotModified(f"container {container.name} does not run")
            container = replace(container, stopped=True)
            # The intent: should we die now, the next engine must not start it again.
            self._core.records.note(container)
            self.stopping.end(container, timeout_s, signal_)
        self._containers.event("stop", container)

    def restart(self, ref: str, timeout_s: float | None = None, signal_: str = "") -> None:
        signal_number(signal_ or "SIGTERM")
        container = self._containers.find(ref)
        with self._core.locks.containers(_with_owner(container)):
            container = self._containers.find(container.id)
            self.starting.check(container)  # before it is ended in vain
            self.restarts.cancel(container.id)
            if container.state.running and container.state.status != "restarting":
                self._end_for_restart(container, timeout_s, signal_)
                container = self._containers.find(container.id)
            try:
                self.starting.launch(container)
            except Exception:
                self._leave_after_failed_restart(container)
                raise
        self._tell_start(container)
        self._containers.event("restart", container)

    def _end_for_restart(self, container: Container, timeout_s: float | None, signal_: str) -> None:
        run = self.runs.of(container)
        run.keep = True
        self._core.records.put(replace(container, restarting=True))  # should we die now, the next engine starts it
        try:
            self.stopping.end(container, timeout_s, signal_)
        except BaseException:  # it runs on
            run.keep = False
            self._core.records.put(container)
            raise

    def _leave_after_failed_restart(self, container: Container) -> None:
        """It kept its sandbox and its ports for a start that did not happen."""
        with suppress(Exception):
            self._attachments.unpublish(container)
        container = self._core.records.containers.get(container.id) or container
        if container.state.status == "restarting":  # it lacked another container, and was not even tried
            state = replace(container.state, status="exited")
            with suppress(Exception):
                self._core.records.put(replace(container, state=state, ports=()))
        with suppress(Exception):
            self.exits.retire_sandbox(container)

    def kill(self, ref: str, name: str) -> None:
        """Send a signal; who sends SIGKILL is answered when the container has ended."""
        number = signal_number(name)
        container = self._running(ref)
        if container.state.status == "restarting":
            self._keep_down(container)
            return
        run = self.runs.of(container)
        run.stopped = run.stopped or number in (*_ENDINGS, signal_number(container.config.stop_signal))
        settled = self.runs.next_exit(container.id)
        self.stopping.signal(container, number)
        if number == signal.SIGKILL:
            with suppress(FutureTimeout):
                settled.result(KILL_S)

    def _keep_down(self, container: Container) -> None:
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            if container.state.status == "restarting":
                self.exits.stay_down(container)

    def pause(self, ref: str) -> None:
        container = self._running(ref)
        with self._core.locks.containers([container.id]):
            container = self._running(container.id)
            if container.state.status == "paused":
                raise Conflict(f"container {container.name} is paused already")
            cgroup = self.runs.of(container).cgroup
            with Undo() as undo:
                undo.callback(cgroup.thaw)
                cgroup.freeze()
                self._core.records.put(replace(container, state=replace(container.state, status="paused")))
                undo.pop_all()
        self._containers.event("pause", container)

    def unpause(self, ref: str) -> None:
        container = self._running(ref)
        with self._core.locks.containers([container.id]):
            container = self._running(container.id)
            if container.state.status != "paused":
                raise Conflict(f"container {container.name} is not paused")
            self.runs.of(container).cgroup.thaw()
            self._core.records.note(replace(container, state=replace(container.state, status="running")))
        self._containers.event("unpause", container)

    def remove(self, ref: str, force: bool, volumes: bool) -> None:
        container = self._containers.find(ref)
        if force:
            self.removal.await_sharers(container)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            self.removal.check_nobody_shares(container)
            if container.state.running:
                if not force:
                    raise Conflict(
                        f"container {container.name} is running", "stop it first, or remove it with force (-f)"
                    )
                self._core.records.put(replace(container, removing=True))
                self.stopping.kill_and_settle(container)
                container = self._core.records.containers.get(container.id) or container
            self.removal.destroy(container, volumes)

    def end_and_destroy(self, container_id: str, *, kill: bool = False, with_networks: bool = False) -> None:
        """Stop it if it runs, and remove it; one that is gone is no error.

        Args:
            kill: Give it no time.
            with_networks: All its networks go, too. Then its links are left to the end of its
                namespace, which costs the kernel a fraction of taking each out of service before.
        """
        with self._core.locks.containers([container_id]):
            container = self._core.records.containers.get(container_id)
            if container is None:
                return
            self._core.records.put(replace(container, removing=True))
            if container.state.running:
                if (run := self.runs.get(container.id)) is not None:
                    run.doomed = with_networks
                self.stopping.end(replace(container, removing=True), 0 if kill else None)
            self.removal.destroy(self._core.records.containers.get(container_id) or container, volumes=True)

    # --- questions ----------------------------------------------------------------------------

    def wait(self, ref: str, condition: str) -> Future[int]:
        container = self._containers.find(ref)
        if condition == "removed":
            future = self.runs.removal(container.id)
            if self._core.records.containers.get(container.id) is None:
                self.runs.tell_removal(container.id, container.state.exit_code)
            return future
        future = self.runs.next_exit(container.id)
        # Looked at after we wait: an exit between the two would never be told.
        current = self._core.records.containers.get(container.id)
        if current is None or (condition == "not-running" and not current.state.running):
            with suppress(InvalidStateError):  # it was told just now
                future.set_result((current or container).state.exit_code)
        return future

    def stats(self, ref: str) -> Stats:
        """What a running container uses."""
        return self.runs.of(self._running(ref)).cgroup.stats()

    def netns_of(self, container: Container) -> Path | None:
        """Where its network namespace can be entered, while it is there."""
        if container.sandbox == "host":
            return Path(f"/proc/{self._core.spawner.pid}/ns/net")
        sandbox = self._sandboxes.get(container.sandbox)
        return None if sandbox is None else sandbox.netns

    def _running(self, ref: str) -> Container:
        container = self._containers.find(ref)
        if not container.state.running:
            raise Conflict(f"container {container.name} does not run", f"start it: netmodel start {container.name}")
        return container


def _with_owner(container: Container) -> list[str]:
    """It, whose sandbox it uses, whose processes or IPC it shares, and which it is linked to."""
    owner = [] if container.sandbox == "host" else [container.sandbox]
    return [container.id, *owner, *lender_ids(container.config), *target_ids(container.config)]
