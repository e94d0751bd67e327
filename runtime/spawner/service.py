"""What the spawner does for the engine: requests in, replies and events out."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from runtime import wire
from runtime.codec import decode_container
from runtime.errors import InvalidSpec, KernelRefused, NoSuchContainer, RuntimeFault, WrongState
from runtime.launch import terminal
from runtime.launch.container import as_start_failure
from runtime.launch.control import GO, describe
from runtime.spawner.audience import Audience
from runtime.spawner.birth import Newborn, Standing, bear
from runtime.spawner.forker import Forker
from runtime.spawner.hierarchy import Hierarchies
from runtime.spawner.log import LogFile, LogPump, timestamp
from runtime.spawner.loop import Loop
from runtime.spawner.memory import SharedMemory
from runtime.spawner.overlay import Scratch
from runtime.spawner.pack import Packer
from runtime.spawner.record import DIED, Container, Ipc, Pin, Reply, Visitor, exit_of
from runtime.spawner.visits import Visits
from runtime.spec import ContainerSpec


class Service:
    """Containers, pinned sandboxes and further processes, and the verbs on them.

    Args:
        emit: Sends an event to the engine, if there is one.
    """

    def __init__(self, loop: Loop, emit: Callable[[dict[str, Any]], None]) -> None:
        self._loop = loop
        self._emit = emit
        self._scratch = Scratch()
        self._hierarchies = Hierarchies()
        self._containers: dict[str, Container] = {}
        self._pins: dict[str, Pin] = {}
        # Of containers that do not run yet.
        self._audiences: dict[str, Audience] = {}
        self._ipcs: dict[str, Ipc] = {}
        self._by_pid: dict[int, Container | Visitor] = {}
        # Processes in between; records (by id()) whose own pid they are still to tell; statuses that came before that.
        self._messengers: set[int] = set()
        self._unnamed: set[int] = set()
        self._unclaimed: dict[int, int] = {}
        self._forker = Forker()
        # A container takes some descriptors.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self._visits = Visits(loop, emit, self._forker)
        self._packer = Packer()
        self.verbs: dict[str, Callable[[dict[str, Any], list[int], Reply], None]] = {
            "create": self._create,
            "start": self._start,
            "signal": self._signal,
            "status": self._status,
            "exec": self._exec,
            "resize": self._resize,
            "attach": self._attach,
            "input": self._input,
            "close_input": self._close_input,
            "sandbox": self._sandbox,
            "pins": self._list_pins,
            "unpin": self._unpin,
            "forget": self._forget,
            "shutdown": self._shutdown,
        }

    @property
    def idle(self) -> bool:
        """There is nothing to keep."""
        return not self._containers and not self._pins and not self._ipcs

    # --- containers -----------------------------------------------------------------------------

    def _create(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        try:
            spec = decode_container(request["spec"])
        except (KeyError, TypeError) as error:
            raise InvalidSpec(f"the container's specification is malformed: {error}") from None
        before = self._containers.get(spec.id)
        if before is not None and before.state != "exited":
            raise WrongState(f"container {spec.id[:12]} is {before.state} already")
        standing = self._standing(spec)
        newborn = bear(self._forker, spec, request["spec"], standing, self._hierarchies.views(spec.cgroups))
        container = self._record(newborn)
        self._keep(newborn)
        try:
            container.logs = LogPump(self._loop, self._log_file(spec), self._audience_of(spec.id))
            for name, fd in newborn.output.items():
                container.logs.add(name, fd)
        except OSError as error:
            self._abandon(container, newborn)
            raise KernelRefused(f"open the log {spec.log}", error) from None

        def answer(result: dict[str, Any]) -> None:
            if "error" in result:
                reply(result)
                return
            if newborn.messenger:
                try:
                    newborn.set_score(container.pid)
                    newborn.keep(container.pid)
                except KernelRefused as refused:
                    self._drop(container)
                    reply({"error": describe(as_start_failure(refused))})
                    return
                self._keep(newborn)
            reply({"pid": container.pid, "new_sandbox": newborn.makes_pin, **_paths(newborn.pin)})

        if container.pid:
            # The engine goes on with the network while we make the mounts.
            answer({})
        else:
            container.waiting = answer
        try:
            warnings = newborn.send_mounts(self._scratch)
        except (BrokenPipeError, ConnectionResetError):
            self._hear(container)  # what it said before it died
            return
        except (RuntimeFault, OSError) as error:
            self._fail(container, describe(as_start_failure(error)))
            return
        if warnings:
            self._emit({"event": "warnings", "id": spec.id, "warnings": warnings})

    def _standing(self, spec: ContainerSpec) -> Standing:
        """Find the namespaces that it is to join."""
        pin = self._pins.get(_pin_name(spec))
        lender = self._pins.get(spec.users_of)
        if pin is None and spec.users_of and lender is None:
            raise WrongState(
                f"the user namespace of container {spec.users_of[:12]} is not there any more",
                "start that container first",
            )
        return Standing(
            pin=pin,
            lender=lender,
            ipc=self._ipc(spec) if spec.ipc == "shareable" else None,
            others=self._find(spec.pids_of).pid if spec.pids_of else 0,
        )

    def _ipc(self, spec: ContainerSpec) -> Ipc:
        found = self._ipcs.get(spec.ipc_of or spec.id)
        if found is None and spec.ipc_of:
            raise WrongState(
                f"container {spec.ipc_of[:12]} has no IPC namespace to share", "start it first, with IPC mode shareable"
            )
        if found is None:
            memory = SharedMemory(spec.shm_bytes, 0 if spec.idmap is None else spec.idmap.base)
            found = self._ipcs[spec.id] = Ipc(memory)
        return found

    def _log_file(self, spec: ContainerSpec) -> LogFile | None:
        if not spec.log:
            return None
        packer = self._packer if spec.log_compressed else None
        return LogFile(spec.log, spec.log_max_bytes, spec.log_files, packer, spec.log_attributes)

    def _keep(self, newborn: Newborn) -> None:
        if newborn.makes_pin and newborn.pin is not None:
            self._pins[_pin_name(newborn.spec)] = newborn.pin

    def _record(self, newborn: Newborn) -> Container:
        spec = newborn.spec
        container = Container(
            id=spec.id, sandbox=spec.sandbox, namespaces=newborn.namespaces, cgroups=spec.cgroups, pid=newborn.pid
        )
        container.control = newborn.control
        container.stdin = newborn.stdin
        self._containers[spec.id] = container
        if newborn.messenger:
            self._messengers.add(newborn.messenger)
            self._unnamed.add(id(container))
        else:
            self._by_pid[newborn.pid] = container
        self._loop.watch(newborn.control.fileno(), lambda: self._hear(container))
        return container

    def _abandon(self, container: Container, newborn: Newborn) -> None:
        """Undo a creation that did not come as far as an answer."""
        for _, source in newborn.sources:
            if source >= 0:
                os.close(source)
        for fd in newborn.output.values():
            os.close(fd)
        self._drop(container)
        if newborn.makes_pin and newborn.pin is not None:
            self._pins.pop(_pin_name(newborn.spec)).close()

    def _start(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        container = self._find(request["id"])
        if container.failure is not None:
            self._drop(container)
            reply({"error": container.failure})
            return
        if container.state != "created" or container.waiting is not None or container.control is None:
            raise WrongState(f"container {container.id[:12]} is {container.state} already")
        container.waiting = reply
        # If it has died, what its socket has to say tells why.
        with suppress(OSError):
            wire.send_bytes(container.control, GO)

    def _hear(self, container: Container) -> None:
        """Take what a container's child says on its way to its program."""
        while container.control is not None:
            try:
                received = wire.receive(container.control)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                self._part(container)
                return
            message, fds = received
            if "pid" in message:
                self._claim(container, message["pid"])
            elif "error" in message:
                container.failure = message["error"]
            elif "exec" in message:
                container.executing = True
            elif "terminal" in message and container.logs is not None:
                container.terminal = fds[0]
                container.logs.add("stdout", fds[0], joined=False)

    def _claim(self, container: Container, pid: int) -> None:
        """Note which process it is, as the one that made it has told."""
        container.pid = pid
        self._by_pid[pid] = container
        self._unnamed.discard(id(container))
        self._tell(container, {})
        # Its status may have come before its name.
        status = self._unclaimed.pop(pid, None)
        if status is not None:
            self._ended(pid, status)
        if not self._unnamed:
            self._unclaimed.clear()

    def _part(self, container: Container) -> None:
        """Its control socket is closed: by its program, or because there will be none."""
        self._close_control(container)
        if container.executing and container.failure is None:
            container.state = "running"
            container.started_at = time.time()
            self._tell(container, {})
        else:
            self._fail(container, container.failure or DIED)

    def _fail(self, container: Container, failure: dict[str, Any]) -> None:
        """There will be no program: tell whoever waits, or keep the reason for whoever starts it."""
        container.failure = failure
        if container.waiting is not None:
            self._drop(container)
            self._tell(container, {"error": failure})
        else:
            self._kill(container)

    def _tell(self, container: Container, result: dict[str, Any]) -> None:
        waiting, container.waiting = container.waiting, None
        if waiting is not None:
            waiting(result)

    def _close_control(self, container: Container) -> None:
        if container.control is not None:
            self._loop.forget(container.control.fileno())
            container.control.close()
            container.control = None

    def _kill(self, container: Container) -> None:
        if container.pid in self._by_pid:
            os.kill(container.pid, signal.SIGKILL)

    def _drop(self, container: Container) -> None:
        """Let go of a container: its process, if any, is killed and no longer of interest."""
        self._kill(container)
        self._by_pid.pop(container.pid, None)
        self._unnamed.discard(id(container))
        self._close_control(container)
        self._close_logs(container)
        if self._containers.get(container.id) is container:
            del self._containers[container.id]

    def _close_logs(self, container: Container) -> None:
        if container.logs is not None:
            container.logs.close()
            container.logs = None
            container.terminal = -1
        self._shut_input(container)

    def _shut_input(self, container: Container) -> None:
        if container.stdin >= 0:
            os.close(container.stdin)
            container.stdin = -1

    def _signal(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        container = self._find(request["id"])
        if container.pid not in self._by_pid:
            raise WrongState(f"container {container.id[:12]} is not running")
        os.kill(container.pid, request["signal"])
        reply({})

    def _status(self, _request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        reply({"containers": [container.status() for container in self._containers.values()]})

    def _resize(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        container = self._find(request["id"])
        if container.terminal < 0:
            raise WrongState(f"container {container.id[:12]} has no terminal")
        terminal.resize(container.terminal, request["rows"], request["columns"])
        reply({})

    def _attach(self, request: dict[str, Any], fds: list[int], reply: Reply) -> None:
        container = self._containers.get(request["id"])
        logs = None if container is None else container.logs
        if logs is not None:
            audience = logs.audience
            logs.settle()
        else:
            audience = self._audiences.setdefault(request["id"], self._future_audience(request["id"]))
        audience.join(os.dup(fds[0]), request["streams"], request["framed"])
        reply({"at": timestamp(time.time_ns())})

    def _future_audience(self, container_id: str) -> Audience:
        def emptied() -> None:
            if self._audiences.get(container_id) is audience:
                del self._audiences[container_id]

        audience = Audience(self._loop, emptied)
        return audience

    def _audience_of(self, container_id: str) -> Audience:
        """Those who have waited for it, if any."""
        return self._audiences.pop(container_id, None) or Audience(self._loop)

    def _input(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        container = self._find(request["id"])
        fd = container.terminal if container.terminal >= 0 else container.stdin
        if fd < 0:
            raise WrongState(f"container {container.id[:12]} takes no input", "create it with an open stdin (-i)")
        reply({"fds": [os.dup(fd)]})

    def _close_input(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        self._shut_input(self._find(request["id"]))
        reply({})

    def _forget(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        container = self._containers.get(request["id"])
        if container is not None:
            if container.state == "running":
                raise WrongState(f"container {container.id[:12]} is running")
            self._drop(container)
        reply({})

    def _find(self, container_id: str) -> Container:
        try:
            return self._containers[container_id]
        except KeyError:
            raise NoSuchContainer(container_id) from None

    # --- sandboxes ------------------------------------------------------------------------------

    def _sandbox(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        pin = self._pins.get(request["name"])
        reply({"netns": _paths(pin)["netns"] if pin and pin.network is not None else None})

    def _list_pins(self, _request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        found: dict[str, int | None] = dict.fromkeys(self._ipcs)
        found.update((name, pin.network) for name, pin in self._pins.items())
        reply({"pins": found})

    def _unpin(self, request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        for kept in (self._pins.pop(request["name"], None), self._ipcs.pop(request["name"], None)):
            if kept is not None:
                kept.close()
        reply({})

    # --- further processes ----------------------------------------------------------------------

    def _exec(self, request: dict[str, Any], fds: list[int], reply: Reply) -> None:
        container = self._find(request["id"])
        if container.state != "running":
            raise WrongState(f"container {container.id[:12]} is not running", "start it first")
        visitor = self._visits.begin(container, request["process"], fds, reply)
        self._by_pid[visitor.pid] = visitor

    # --- endings --------------------------------------------------------------------------------

    def reap(self) -> None:
        """Take the statuses of all children that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._messengers:
                self._messengers.discard(pid)
            elif pid in self._by_pid:
                self._ended(pid, status)
            elif self._packer.ended(pid, status):
                continue
            elif self._unnamed:
                self._unclaimed[pid] = status

    def _ended(self, pid: int, status: int) -> None:
        record = self._by_pid.pop(pid)
        if isinstance(record, Visitor):
            self._visits.ended(record, status)
            return
        # What it said last may tell why it ended.
        self._hear(record)
        self._close_logs(record)
        if record.failure is not None or self._containers.get(record.id) is not record:
            return
        record.state = "exited"
        record.finished_at = time.time()
        record.exit_code, record.signal = exit_of(status)
        self._emit(self._exit_event(record))

    def exits(self) -> list[dict[str, Any]]:
        """The events of all containers that have ended and are not forgotten, for a new engine."""
        return [self._exit_event(record) for record in self._containers.values() if record.state == "exited"]

    def _exit_event(self, record: Container) -> dict[str, Any]:
        return {
            "event": "exit",
            "id": record.id,
            "exit_code": record.exit_code,
            "signal": record.signal,
            "at": record.finished_at,
        }

    def _shutdown(self, _request: dict[str, Any], _fds: list[int], reply: Reply) -> None:
        running = [record.id[:12] for record in self._containers.values() if record.state != "exited"]
        if running:
            raise WrongState(f"containers are still there: {', '.join(running)}", "stop them first")
        reply({})
        raise SystemExit


def _pin_name(spec: ContainerSpec) -> str:
    """Where the network is the host's, what is pinned is a user namespace alone, and the container's own."""
    return spec.id if spec.sandbox == "host" else spec.sandbox


def _paths(pin: Pin | None) -> dict[str, str | None]:
    """Where the namespaces can be opened; those of the host's where there is no pin."""
    own = f"/proc/{os.getpid()}"
    return {
        "netns": f"{own}/fd/{pin.network}" if pin and pin.network is not None else f"{own}/ns/net",
        "userns": f"{own}/fd/{pin.users}" if pin and pin.users is not None else None,
    }


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
