"""What has to be done when a container has ended: by itself, by a stop, or with its spawner."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from netmodel.engine.attach import Attachments
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.health import HealthChecks
from netmodel.engine.removal import Removal
from netmodel.engine.restarts import Restarts
from netmodel.engine.runs import Run, Runs
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.shortage import Shortage
from netmodel.engine.undo import every_step
from netmodel.engine.volumes import EngineVolumes
from netmodel.model import Container
from runtime.client import Exited, Spawner

_WORKERS = 2
# The exit code of a container whose end nobody saw, and why.
LOST = 255
LOST_ERROR = "its parent process (the spawner) died, and the container with it"


class Exits:
    """Hears of ends from the spawner, and settles what is left."""

    def __init__(
        self,
        core: Core,
        containers: Containers,
        volumes: EngineVolumes,
        attachments: Attachments,
        sandboxes: Sandboxes,
        runs: Runs,
        removal: Removal,
        restarts: Restarts,
        health: HealthChecks,
        shortage: Shortage,
    ) -> None:
        self._core = core
        self._containers = containers
        self._volumes = volumes
        self._attachments = attachments
        self._sandboxes = sandboxes
        self._runs = runs
        self._removal = removal
        self._restarts = restarts
        self._health = health
        self._shortage = shortage
        self._news: queue.SimpleQueue[Exited | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []

    def open(self) -> None:
        """Begin to listen to the spawner."""
        self._listen(self._core.spawner)
        for number in range(_WORKERS):
            worker = threading.Thread(target=self._settle_news, name=f"exits-{number}", daemon=True)
            worker.start()
            self._workers.append(worker)

    def _listen(self, spawner: Spawner) -> None:
        spawner.on_exit = self._on_exit
        spawner.on_lost = self._on_lost

    def close(self) -> None:
        self._core.spawner.on_lost = None
        for _ in self._workers:
            self._news.put(None)
        for worker in self._workers:
            worker.join()

    def _on_exit(self, news: Exited) -> None:
        """Called by the spawner's reader, which must not wait."""
        if self._runs.ended(news):
            self._news.put(news)

    def _on_lost(self) -> None:
        """Called by the reader of a spawner that died: its containers died with it."""
        threading.Thread(target=self._replace_spawner, name="spawner-lost", daemon=True).start()

    def _replace_spawner(self) -> None:
        core, dead = self._core, self._core.spawner
        spawner = Spawner.connect(core.root.spawner)
        self._listen(spawner)
        core.replace_spawner(spawner)
        with suppress(OSError):
            dead.close()
        for container in core.records.containers:
            run = self._runs.get(container.id)
            # What has waited for the new one to start may run by now.
            if container.state.running and (run is None or run.spawner == dead.pid):
                with suppress(Exception):
                    self._settle_lost(container.id, run)
        # Their namespaces are gone, whatever our paths to them lead to now; but what was started since is not.
        for name in self._sandboxes.held_by(dead.pid):
            with core.locks.containers([name]):
                if name in self._sandboxes.held_by(dead.pid):
                    self._sandboxes.close(name)

    def _settle_lost(self, container_id: str, run: Run | None) -> None:
        news = Exited(container_id, LOST, None, time.time())
        if run is not None:
            run.end(news)  # who waits for it in stop() or kill() need not wait on
        with self._core.locks.containers([container_id]):
            container = self._core.records.containers.get(container_id)
            # Who restarts it may have had the lock first: then it runs again.
            if container is not None and container.state.running and self._runs.get(container_id) is run:
                self.settle(container, news, LOST_ERROR)

    def _settle_news(self) -> None:
        while (news := self._news.get()) is not None:
            if self._core.locks.is_held(news.id):
                # That may take long (a network it is being connected to has a slow DHCP server): others go on.
                threading.Thread(target=self._settle_quietly, args=(news,), name="exit-late", daemon=True).start()
            else:
                self._settle_quietly(news)

    def _settle_quietly(self, news: Exited) -> None:
        with suppress(Exception):  # told in the record and by an event; there is no caller here
            self.settle_exit(news)

    def settle_exit(self, news: Exited) -> None:
        """Do what has to be done when a container ended by itself."""
        with self._core.locks.containers([news.id]):
            container, run = self._core.records.containers.get(news.id), self._runs.get(news.id)
            # The news may be of a life before this one: a restart settles that itself, and begins another.
            this_life = run is not None and run.exited.done() and run.exited.result() == news
            if container is not None and container.state.running and this_life:
                self.settle(container, news)

    def settle(self, container: Container, news: Exited, error: str = "") -> None:
        """Take out of service what a container that ended has; tell the world. The lock is held."""
        core = self._core
        run = self._runs.get(container.id)
        by_hand = container.restarting or (run is not None and run.keep)
        if run is not None and (run.stopped or run.asked):
            container = replace(container, stopped=True)
        wait_s = None
        if not by_hand and not container.stopped and not container.removing:
            wait_s = self._restarts.wait_after(container, news)
        keep = by_hand or wait_s is not None
        told = self._shortage.end(container.id)
        oom = told
        with every_step(f"cannot clean up after container {container.name}") as step:
            if not keep or error:  # the sandbox of one that was lost is gone, too: its next life has another
                with step:
                    self._attachments.unpublish(container)
            if run is not None:
                with step:
                    oom = oom or run.cgroup.oom_kills() > 0
                # In a PID namespace of its own they have died with the first; when paused, only as they thaw. Under
                # AppArmor not even the first hears of its parent's death (security/apparmor/lsm.c).
                if container.config.pid_mode or container.state.status == "paused" or news.exit_code == LOST:
                    with step:
                        run.cgroup.kill()
                with step:
                    run.cgroup.delete()
            with step:
                self._volumes.unmount(container)
            state = replace(
                container.state,
                status="restarting" if keep else "exited",
                pid=0,
                exit_code=news.exit_code,
                oom_killed=oom,
                error=error,
                finished_at=datetime.fromtimestamp(news.at, UTC),
            )
            container = replace(container, state=state, ports=container.ports if keep else (), restarting=False)
            if wait_s is not None:
                container = replace(container, restart_count=container.restart_count + 1)
            if core.records.note(container):  # else the spawner keeps it in mind for the next engine
                with step:
                    core.spawner.forget_ended(container.id)
            self._runs.end(container.id)
            self._health.end(container.id, final=not keep)
            if not keep and not (run is not None and run.doomed):
                with step:
                    self.retire_sandbox(container)
            if oom and not told:
                self._containers.event("oom", container)
            started = state.started_at.timestamp() if state.started_at else news.at
            self._containers.event(
                "die", container, exitCode=str(news.exit_code), execDuration=str(int(max(news.at - started, 0)))
            )
            self._runs.tell_exit(container.id, news.exit_code)
            if wait_s is not None:
                self._restarts.schedule(container.id, wait_s)
            if container.config.auto_remove and not keep and not container.removing:
                with step:
                    self._removal.destroy(container, volumes=True)

    def stay_down(self, container: Container) -> None:
        """What was to start again does not: give back what it kept for that. The lock is held."""
        self._restarts.cancel(container.id)
        self._health.end(container.id, final=True)
        container = replace(container, state=replace(container.state, status="exited", pid=0), stopped=True)
        with every_step(f"cannot clean up after container {container.name}") as step:
            with step:
                self._attachments.unpublish(container)
            self._core.records.note(replace(container, ports=()))
            with step:
                self.retire_sandbox(container)

    def retire_sandbox(self, container: Container) -> None:
        """Leave the networks when nobody is left in the sandbox."""
        if container.sandbox == "host":
            return
        if any(other.state.running for other in self._core.records.sharers(container.sandbox)):
            return
        owner = self._core.records.containers.get(container.sandbox)
        if owner is not None:
            self._attachments.leave(owner)
