"""Running containers: create → attach → start, and back when the first process has ended."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from netmodel.engine.attach import Attachments
from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.launch import container_spec, device_rules_of, resources_of, signal_number
from netmodel.engine.name_files import NameFiles
from netmodel.engine.runs import Run, Runs
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.undo import Undo, every_step
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Conflict, NetmodelError, NotModified, StartRefused, Unavailable, translate
from netmodel.model import Container, ContainerState, Endpoint
from runtime.cgroups import Stats
from runtime.client import Exited, Spawner
from runtime.errors import RuntimeFault
from runtime.spec import ContainerSpec

# A process that got SIGKILL is gone at once, unless it hangs in the kernel (a dead NFS server).
_KILL_S = 30.0
_EXIT_WORKERS = 2
# The exit code of a container whose end nobody saw, and why.
LOST = 255
LOST_ERROR = "its parent process (the spawner) died, and the container with it"


class Lifecycle:
    """Starts, stops, kills, pauses; and settles what is left when a container ends by itself."""

    def __init__(
        self, core: Core, containers: Containers, volumes: EngineVolumes, attachments: Attachments, sandboxes: Sandboxes
    ) -> None:
        self._core = core
        self._containers = containers
        self._volumes = volumes
        self._attachments = attachments
        self._sandboxes = sandboxes
        self.name_files = NameFiles(core, containers)
        self.runs = Runs()
        self._news: queue.SimpleQueue[Exited | None] = queue.SimpleQueue()
        self._workers: list[threading.Thread] = []

    def open(self) -> None:
        """Begin to listen to the spawner."""
        self._listen()
        for number in range(_EXIT_WORKERS):
            worker = threading.Thread(target=self._settle_news, name=f"exits-{number}", daemon=True)
            worker.start()
            self._workers.append(worker)

    def _listen(self) -> None:
        self._core.spawner.on_exit = self._on_exit
        self._core.spawner.on_lost = self._on_lost

    def close(self) -> None:
        self._core.spawner.on_lost = None
        for _ in self._workers:
            self._news.put(None)
        for worker in self._workers:
            worker.join()
        self.runs.cancel()

    # --- start --------------------------------------------------------------------------------

    def start(self, ref: str) -> None:
        container = self._containers.find(ref)
        with self._core.locks.containers(_with_owner(container)):
            container = self._containers.find(container.id)
            if container.state.running:
                raise NotModified(f"container {container.name} is running already")
            self._launch(container)
        self._containers.event("start", container)

    def _launch(self, container: Container) -> None:
        """Run it, or leave everything as it was and the reason in its record."""
        core = self._core
        owner = self._owner(container)
        endpoints = core.records.endpoints_of(owner.id)
        with core.locks.sharing(endpoint.network_id for endpoint in endpoints):
            try:
                with Undo() as undo:
                    core.records.put(self._launched(container, owner, endpoints, undo))
                    undo.pop_all()
            except Exception as error:
                self._note_failure(container, translate(error))
                raise

    def _launched(
        self, container: Container, owner: Container, endpoints: list[Endpoint], undo: ExitStack
    ) -> Container:
        core = self._core
        cgroup = core.cgroups.create(
            container.id,
            resources_of(container.config),
            privileged=container.config.privileged,
            devices=device_rules_of(container.config),
        )
        undo.callback(cgroup.delete)
        spec = self._spec(container, owner, endpoints, cgroup.directories)
        # From here the child prepares its mounts, while we bring up its network.
        created = core.spawner.create(spec)
        self.runs.begin(container.id, cgroup)
        undo.callback(self.runs.end, container.id)
        undo.callback(self.discard, container.id)
        ports = container.ports  # kept over a restart
        if container.sandbox == container.id:
            self._attachments.join(container, created.netns, created.new_sandbox, undo)
            if not ports:
                ports = self._attachments.publish(container, container.config.ports, undo)
            self._attachments.wait_until_carried(container)
        core.spawner.start(container.id)
        state = ContainerState(status="running", pid=created.pid, started_at=datetime.now(UTC))
        return replace(container, state=state, ports=ports)

    def _owner(self, container: Container) -> Container:
        """Whose sandbox it uses; for one of the host's it is the container itself."""
        if container.sandbox in (container.id, "host"):
            return container
        owner = self._core.records.containers.get(container.sandbox)
        if owner is None:
            raise Conflict(
                f"the container whose network {container.name} uses is gone ({container.sandbox[:12]})",
                f"remove {container.name} and create it again",
            )
        if not owner.state.running:
            raise Conflict(
                f"container {owner.name}, whose network {container.name} uses, does not run",
                f"start {owner.name} first",
            )
        return owner

    def _spec(
        self, container: Container, owner: Container, endpoints: list[Endpoint], cgroups: tuple[str, ...]
    ) -> ContainerSpec:
        image = self._containers.image_of(container)
        if owner is container:  # who shares a sandbox sees its owner's files
            self.name_files.write(container, endpoints)
        spec = container_spec(
            container,
            owner,
            image,
            layer=self._core.layers.paths(container.id),
            files=self._containers.files(owner.id),
            log=self._containers.files(container.id).log,
            cgroups=cgroups,
            volumes=self._volumes.mounts(container),
        )
        return replace(spec, process=self._core.confinement.of(spec.process, container.config))

    def discard(self, container_id: str) -> None:
        """Undo spawner.create(), and spawner.start() as well."""
        if self._forgotten(container_id):
            return
        with _unless("conflict"):  # it has just ended
            self._core.spawner.signal(container_id, signal.SIGKILL)
        deadline = time.monotonic() + _KILL_S
        # No run of ours may wait for its news, so the spawner is asked; this happens after a crash alone.
        while not self._forgotten(container_id) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _forgotten(self, container_id: str) -> bool:
        """Whether the spawner let go of it: it does not of one that runs."""
        with _unless("conflict"):
            self._core.spawner.forget(container_id)
            return True
        return False

    def _note_failure(self, container: Container, error: NetmodelError) -> None:
        code = error.code if isinstance(error, StartRefused) else 128
        state = replace(container.state, exit_code=code, error=str(error), pid=0)
        if container.state.running or container.state.status == "restarting":
            state = replace(state, status="exited")
        with suppress(Exception):  # the disk may be full; the caller hears the first error
            self._core.records.put(replace(container, state=state, ports=()))

    # --- stop ---------------------------------------------------------------------------------

    def stop(self, ref: str, timeout_s: float | None = None) -> None:
        container = self._containers.find(ref)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            if not container.state.running:
                raise NotModified(f"container {container.name} does not run")
            self.end(container, timeout_s)
        self._containers.event("stop", container)

    def restart(self, ref: str, timeout_s: float | None = None) -> None:
        container = self._containers.find(ref)
        with self._core.locks.containers(_with_owner(container)):
            container = self._containers.find(container.id)
            if container.state.running:
                run = self._run(container)
                run.keep = True
                self.end(container, timeout_s)
                container = self._containers.find(container.id)
            try:
                self._launch(container)
            except Exception:
                self._leave_after_failed_restart(container)
                raise
        self._containers.event("start", container)
        self._containers.event("restart", container)

    def _leave_after_failed_restart(self, container: Container) -> None:
        """It kept its sandbox and its ports for a start that did not happen."""
        with suppress(Exception):
            self._attachments.unpublish(container)
        with suppress(Exception):
            self._retire_sandbox(container)

    def end(self, container: Container, timeout_s: float | None) -> None:
        """Signal, wait, kill, settle. The caller holds the container's lock."""
        run = self._run(container)
        wanted = signal_number(container.config.stop_signal)
        grace = container.config.stop_timeout_s if timeout_s is None else timeout_s
        if container.state.status == "paused":
            run.cgroup.thaw()
        if grace != 0 and _is_heard(container.state.pid, wanted):
            if not run.asked:
                self._signal(container, wanted)
            with suppress(FutureTimeout):
                self.settle(container, run.exited.result(None if grace < 0 else grace))
                return
        self._kill_and_settle(container, run)

    def ask_to_end(self, containers: Iterable[Container]) -> None:
        """Send many their stop signals at once, so that they all have their time to end side by side."""
        for container in containers:
            run = self.runs.get(container.id)
            wanted = signal_number(container.config.stop_signal)
            if run is not None and container.state.status == "running" and _is_heard(container.state.pid, wanted):
                run.asked = True
                self._signal(container, wanted)

    def _kill_and_settle(self, container: Container, run: Run) -> None:
        self._signal(container, signal.SIGKILL)
        try:
            news = run.exited.result(_KILL_S)
        except FutureTimeout:
            raise Unavailable(
                f"container {container.name} does not end, not even by SIGKILL: its process hangs in the kernel",
                f"see /proc/{container.state.pid}/stack",
            ) from None
        self.settle(container, news)

    def kill(self, ref: str, name: str) -> None:
        """Send a signal; who sends SIGKILL is answered when the container has ended."""
        number = signal_number(name)
        container = self._running(ref)
        run = self._run(container)
        settled = self.runs.next_exit(container.id)
        if container.state.status == "paused" and number == signal.SIGKILL:
            run.cgroup.thaw()
        self._signal(container, number)
        if number == signal.SIGKILL:
            with suppress(FutureTimeout):
                settled.result(_KILL_S)

    def _signal(self, container: Container, number: int) -> None:
        with _unless("not_found", "conflict"):  # it is just ending
            self._core.spawner.signal(container.id, number)
        self._containers.event("kill", container, signal=str(int(number)))

    def pause(self, ref: str) -> None:
        container = self._running(ref)
        with self._core.locks.containers([container.id]):
            container = self._running(container.id)
            if container.state.status == "paused":
                raise Conflict(f"container {container.name} is paused already")
            self._run(container).cgroup.freeze()
            self._core.records.put(replace(container, state=replace(container.state, status="paused")))
        self._containers.event("pause", container)

    def unpause(self, ref: str) -> None:
        container = self._running(ref)
        with self._core.locks.containers([container.id]):
            container = self._running(container.id)
            if container.state.status != "paused":
                raise Conflict(f"container {container.name} is not paused")
            self._run(container).cgroup.thaw()
            self._core.records.put(replace(container, state=replace(container.state, status="running")))
        self._containers.event("unpause", container)

    def remove(self, ref: str, force: bool, volumes: bool) -> None:
        container = self._containers.find(ref)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            self._check_nobody_shares(container)
            if container.state.running:
                if not force:
                    raise Conflict(
                        f"container {container.name} is running", "stop it first, or remove it with force (-f)"
                    )
                self._core.records.put(replace(container, removing=True))
                self._kill_and_settle(container, self._run(container))
                container = self._core.records.containers.get(container.id) or container
            self.destroy(container, volumes)

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
                self._run(container).doomed = with_networks
                self.end(replace(container, removing=True), 0 if kill else None)
            self.destroy(self._core.records.containers.get(container_id) or container, volumes=True)

    def destroy(self, container: Container, volumes: bool) -> None:
        """Remove one that does not run. The caller holds its lock."""
        if self._core.records.containers.get(container.id) is None:
            return  # auto_remove was quicker
        with every_step(f"cannot remove all of container {container.name}") as step:
            if container.sandbox == container.id:
                with step:
                    self._sandboxes.close(container.id)
                with step:
                    self._core.spawner.unpin(container.id)
            with step:
                self._containers.destroy(container, volumes)
        self.runs.tell_removal(container.id, container.state.exit_code)

    def _check_nobody_shares(self, container: Container) -> None:
        others = [
            other.name
            for other in self._core.records.sharers(container.id)
            if other.id != container.id and other.state.running
        ]
        if others:
            raise Conflict(
                f"container {container.name} lends its network to {', '.join(sorted(others))}", "remove these first"
            )

    # --- exits --------------------------------------------------------------------------------

    def _on_exit(self, news: Exited) -> None:
        """Called by the spawner's reader, which must not wait."""
        if self.runs.ended(news):
            self._news.put(news)

    def _on_lost(self) -> None:
        """Called by the reader of a spawner that died: its containers died with it."""
        threading.Thread(target=self._replace_spawner, name="spawner-lost", daemon=True).start()

    def _replace_spawner(self) -> None:
        core, dead = self._core, self._core.spawner
        core.spawner = Spawner.connect(core.root.spawner)
        self._listen()
        with suppress(OSError):
            dead.close()
        for container in core.records.containers:
            if container.state.running:
                with suppress(Exception):
                    self._settle_lost(container.id)
        # Their namespaces are gone, whatever our paths to them lead to now.
        self._sandboxes.close_all()

    def _settle_lost(self, container_id: str) -> None:
        news = Exited(container_id, LOST, None, time.time())
        self.runs.ended(news)  # who waits for it in stop() or kill() need not wait on
        with self._core.locks.containers([container_id]):
            container = self._core.records.containers.get(container_id)
            if container is not None and container.state.running:
                self.settle(container, news, LOST_ERROR)

    def _settle_news(self) -> None:
        while (news := self._news.get()) is not None:
            with suppress(Exception):  # told in the record and by an event; there is no caller here
                self.settle_exit(news)

    def settle_exit(self, news: Exited) -> None:
        """Do what has to be done when a container ended by itself."""
        with self._core.locks.containers([news.id]):
            container, run = self._core.records.containers.get(news.id), self.runs.get(news.id)
            # The news may be of a life before this one: a restart settles that itself, and begins another.
            this_life = run is not None and run.exited.done() and run.exited.result() == news
            if container is not None and container.state.running and this_life:
                self.settle(container, news)

    def settle(self, container: Container, news: Exited, error: str = "") -> None:
        """Take out of service what a container that ended has; tell the world. The lock is held."""
        core = self._core
        run = self.runs.get(container.id)
        keep = run is not None and run.keep
        oom = False
        with every_step(f"cannot clean up after container {container.name}") as step:
            if not keep:
                with step:
                    self._attachments.unpublish(container)
            if run is not None:
                with step:
                    oom = run.cgroup.oom_kills() > 0
                with step:
                    run.cgroup.delete()
            with step:
                core.spawner.forget(container.id)
            state = replace(
                container.state,
                status="exited",
                pid=0,
                exit_code=news.exit_code,
                oom_killed=oom,
                error=error,
                finished_at=datetime.fromtimestamp(news.at, UTC),
            )
            container = replace(container, state=state, ports=container.ports if keep else ())
            core.records.put(container)
            self.runs.end(container.id)
            if not keep and not (run is not None and run.doomed):
                with step:
                    self._retire_sandbox(container)
            if oom:
                self._containers.event("oom", container)
            self._containers.event("die", container, exitCode=str(news.exit_code))
            self.runs.tell_exit(container.id, news.exit_code)
            if container.config.auto_remove and not keep and not container.removing:
                with step:
                    self.destroy(container, volumes=True)

    def _retire_sandbox(self, container: Container) -> None:
        """Leave the networks when nobody is left in the sandbox."""
        if container.sandbox == "host":
            return
        if any(other.state.running for other in self._core.records.sharers(container.sandbox)):
            return
        owner = self._core.records.containers.get(container.sandbox)
        if owner is not None:
            self._attachments.leave(owner)

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
        return self._run(self._running(ref)).cgroup.stats()

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

    def _run(self, container: Container) -> Run:
        run = self.runs.get(container.id)
        if run is None:
            raise Conflict(f"container {container.name} is just ending")
        return run


@contextmanager
def _unless(*kinds: str) -> Iterator[None]:
    """Let the spawner refuse for one of these reasons: which class it raised does not cross its socket."""
    try:
        yield
    except RuntimeFault as fault:
        if fault.kind not in kinds:
            raise


def _with_owner(container: Container) -> list[str]:
    return [container.id] if container.sandbox == "host" else [container.id, container.sandbox]


def _is_heard(pid: int, number: int) -> bool:
    """Whether a first process would notice a signal.

    The kernel drops signals that the first process of a PID namespace neither catches nor blocks
    (man 7 pid_namespaces); waiting for one to have an effect would be in vain.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith(("SigCgt", "SigBlk")))
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())
