"""The engine's side of the spawner: start it or find it, and ask it from any number of threads."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from runtime import wire
from runtime.codec import encode
from runtime.errors import SpawnerUnavailable
from runtime.kernel import mount
from runtime.launch.control import recover
from runtime.launch.terminal import resize
from runtime.spec import ContainerSpec, Process

State = Literal["created", "running", "exited"]
_START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Created:
    """A container that waits for its start.

    Args:
        netns: Path of its network namespace, usable from any process of this machine.
        userns: Path of its user namespace; None is the host's.
        new_sandbox: The sandbox was made now, so it holds no link but lo yet.
    """

    pid: int
    netns: Path
    userns: Path | None
    new_sandbox: bool


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What the spawner knows of a container; times are seconds since the epoch."""

    id: str
    sandbox: str
    pid: int
    state: State
    exit_code: int | None
    signal: int | None
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class Exited:
    """A container has ended: exit_code as a shell has it (128 + signal), at in seconds since the epoch."""

    id: str
    exit_code: int
    signal: int | None
    at: float


@dataclass(frozen=True, slots=True)
class ExecFds:
    """Descriptors for a process's 0, 1 and 2; they stay the caller's."""

    stdin: int
    stdout: int
    stderr: int


class ExecHandle:
    """A further process in a container. Its descriptors are the caller's to use; close() closes those left.

    Args:
        terminal: Master of its terminal, where it has one.
        stdin, stdout, stderr: The near ends of its pipes, where the caller gave none of its own.
    """

    def __init__(self, exec_id: str, pid: int, ended: Future[int], fds: dict[str, int]) -> None:
        self.exec_id = exec_id
        self.pid = pid
        self.terminal = fds.get("terminal")
        self.stdin = fds.get("stdin")
        self.stdout = fds.get("stdout")
        self.stderr = fds.get("stderr")
        self.ended = ended

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Raises:
            TimeoutError: It runs still.
            SpawnerUnavailable: The connection broke; nobody will know.
        """
        return self.ended.result(timeout_s)

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size in characters."""
        if self.terminal is not None:
            resize(self.terminal, rows, columns)

    def close_stdin(self) -> None:
        """Let the process read the end of its input."""
        self._close("stdin")

    def close(self) -> None:
        for name in ("terminal", "stdin", "stdout", "stderr"):
            self._close(name)

    def _close(self, name: str) -> None:
        fd = getattr(self, name)
        setattr(self, name, None)
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> ExecHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Spawner:
    """A connection to the spawner of one directory. Every method may be called from any thread.

    All raise RuntimeFault: what the spawner answered, or SpawnerUnavailable when it is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._next = 0
        self._replies: dict[int, Future[tuple[dict[str, Any], list[int]]]] = {}
        self._execs: dict[str, Future[int]] = {}
        self._ended_execs: dict[str, int] = {}
        self._on_exit: Callable[[Exited], None] | None = None
        self._held: list[Exited] = []
        self._gone = False
        self.on_warning: Callable[[str, Sequence[str]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        received = wire.receive(connection)
        if received is None:
            raise SpawnerUnavailable("the spawner closed the connection at once")
        self.pid: int = received[0]["pid"]
        self._reader = threading.Thread(target=self._read, name="spawner", daemon=True)
        self._reader.start()

    @classmethod
    def connect(cls, directory: Path, start: bool = True) -> Spawner:
        """Connect to the spawner of a directory; start one if none answers and start is true.

        It replaces whatever engine was connected before. The directory is made. A new spawner works in
        the network namespace of the calling thread and outlives this process.
        """
        directory.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            connection = _dial(directory)
            if connection is None:
                if not start:
                    raise SpawnerUnavailable(f"no spawner answers in {directory}", "start the engine")
                _launch(directory)
                connection = _dial(directory)
            if connection is None:
                raise SpawnerUnavailable(f"the spawner in {directory} does not answer", f"see {directory}/spawner.log")
            try:
                return cls(connection)
            except (SpawnerUnavailable, OSError):
                # One that is just dying: its children hold its socket a moment longer.
                connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        """Hang up. Containers run on, and the spawner keeps them."""
        with self._lock:
            self._gone = True
        with contextlib.suppress(OSError):  # it was the other side that went
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._socket.close()

    # --- containers -----------------------------------------------------------------------------

    def create(self, spec: ContainerSpec) -> Created:
        """Clone a container's first process, which prepares itself and then waits for start().

        A failure in its preparation (a user or sysctl that is unknown, a mount that cannot be) is
        raised by start(). On an error here nothing is left of it.
        """
        reply, _ = self._ask("create", spec=encode(spec))
        users = reply["userns"]
        return Created(
            pid=reply["pid"],
            netns=Path(reply["netns"]),
            userns=None if users is None else Path(users),
            new_sandbox=reply["new_sandbox"],
        )

    def start(self, id_: str) -> None:
        """Let it run, and return when its program has taken over.

        Raises:
            StartFailed: It did not come to that; the container is gone, its sandbox still pinned.
        """
        self._ask("start", id=id_)

    def signal(self, id_: str, signum: int) -> None:
        """Send a signal to its first process."""
        self._ask("signal", id=id_, signal=int(signum))

    def status(self) -> list[ContainerStatus]:
        """All containers that are not forgotten."""
        reply, _ = self._ask("status")
        return [ContainerStatus(**status) for status in reply["containers"]]

    def resize(self, id_: str, rows: int, columns: int) -> None:
        """Set the size of its first process's terminal, in characters."""
        self._ask("resize", id=id_, rows=rows, columns=columns)

    def attach(self, id_: str, streams: Sequence[str], *, framed: bool) -> tuple[int, str]:
        """A descriptor to read what its first process prints from now on, whether it runs already or not yet.

        It ends with the container, and who reads too slowly slows the container down. The caller closes it.

        Args:
            framed: Each piece has a header, see runtime.frame.

        Returns:
            The descriptor, and the time, in the log's form, before which all that was printed is in the log.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            reply, _ = self._ask("attach", [write], id=id_, streams=list(streams), framed=framed)
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        return read, reply["at"]

    def input(self, id_: str) -> int:
        """A descriptor that writes to its first process: to its terminal, or to the stdin it was given open.

        The caller closes it. The process sees the end of its input once
        all such descriptors are closed and close_input() was called.
        """
        return self._ask("input", id=id_)[1][0]

    def close_input(self, id_: str) -> None:
        """Let go of the stdin that the spawner has held open for input(). A terminal stays open."""
        self._ask("close_input", id=id_)

    def forget(self, id_: str) -> None:
        """Drop the record of a container that has ended, or undo one that was created and not started.

        One that is not known is no error; a running one is.
        """
        self._ask("forget", id=id_)

    def forget_ended(self, id_: str) -> None:
        """Drop the record of a container whose end was told. Nobody waits for it."""
        self._post("forget", id=id_)

    def exec(self, id_: str, process: Process, stdio: ExecFds | None = None) -> ExecHandle:
        """Run a further process in a container; returns when its program has taken over.

        Args:
            stdio: None makes pipes, whose near ends are in the handle. Not for a terminal.

        Raises:
            StartFailed: With the code that a shell would give.
        """
        near: dict[str, int] = {}
        far: list[int] = []
        try:
            if stdio is not None and not process.terminal:
                reply, fds = self._ask(
                    "exec", [stdio.stdin, stdio.stdout, stdio.stderr], id=id_, process=encode(process)
                )
            else:
                if not process.terminal:
                    near, far = _pipes()
                reply, fds = self._ask("exec", far, id=id_, process=encode(process))
        except BaseException:
            for fd in near.values():
                os.close(fd)
            raise
        finally:
            for fd in far:
                os.close(fd)
        if fds:
            near["terminal"] = fds[0]
        return ExecHandle(reply["exec"], reply["pid"], self._end_of(reply["exec"]), near)

    # --- sandboxes ------------------------------------------------------------------------------

    def sandbox(self, name: str) -> Path | None:
        """Path of a pinned sandbox's network namespace."""
        reply, _ = self._ask("sandbox", name=name)
        return None if reply["netns"] is None else Path(reply["netns"])

    def pins(self) -> list[str]:
        """Names under which namespaces are kept: those of sandboxes, and of who else has some to share."""
        reply, _ = self._ask("pins")
        return list(reply["pins"])

    def sandboxes(self) -> dict[str, Path]:
        """Paths of the network namespaces of all pinned sandboxes, by name."""
        reply, _ = self._ask("pins")
        return {
            name: Path(f"/proc/{self.pid}/fd/{descriptor}")
            for name, descriptor in reply["pins"].items()
            if descriptor is not None
        }

    def unpin(self, name: str) -> None:
        """Let what is kept under a name go with its last process; nothing there is no error."""
        self._ask("unpin", name=name)

    def shutdown(self) -> None:
        """End the spawner; refused while containers run."""
        self._ask("shutdown")
        self.close()

    # --- events ---------------------------------------------------------------------------------

    @property
    def on_exit(self) -> Callable[[Exited], None] | None:
        """Called in the reader's thread when a container ends, and for those that ended before; must not block."""
        return self._on_exit

    @on_exit.setter
    def on_exit(self, callback: Callable[[Exited], None] | None) -> None:
        with self._lock:
            self._on_exit = callback
            held, self._held = (self._held, []) if callback else ([], self._held)
        for event in held:
            if callback:
                callback(event)

    def _end_of(self, exec_id: str) -> Future[int]:
        """The future exit code of a process, whose end may have been heard of before its start."""
        ended: Future[int] = Future()
        with self._lock:
            if exec_id in self._ended_execs:
                ended.set_result(self._ended_execs.pop(exec_id))
            elif self._gone:
                ended.set_exception(_lost())
            else:
                self._execs[exec_id] = ended
        return ended

    # --- the connection -------------------------------------------------------------------------

    def _ask(self, verb: str, fds: Sequence[int] = (), **request: Any) -> tuple[dict[str, Any], list[int]]:
        future: Future[tuple[dict[str, Any], list[int]]] = Future()
        self._send(verb, fds, request, future)
        reply, passed = future.result()
        if "error" in reply:
            raise recover(reply["error"])
        return reply, passed

    def _post(self, verb: str, **request: Any) -> None:
        """Ask for what is never refused, without an answer: what is asked later is done later."""
        self._send(verb, (), request, None)

    def _send(
        self,
        verb: str,
        fds: Sequence[int],
        request: dict[str, Any],
        future: Future[tuple[dict[str, Any], list[int]]] | None,
    ) -> None:
        with self._lock:
            if self._gone:
                raise _lost()
            number = None
            if future is not None:
                self._next = number = self._next + 1
                self._replies[number] = future
        try:
            with self._sending:
                wire.send(self._socket, {"id_": number, "verb": verb, **request}, fds)
        except OSError:
            if number is not None:
                with self._lock:
                    self._replies.pop(number, None)
            raise _lost() from None

    def _read(self) -> None:
        while True:
            try:
                received = wire.receive(self._socket)
            except OSError:
                received = None
            if received is None:
                break
            message, fds = received
            if "reply" in message:
                self._answered(message, fds)
            else:
                self._take(message)
        self._lose()

    def _answered(self, message: dict[str, Any], fds: list[int]) -> None:
        with self._lock:
            future = self._replies.pop(message["reply"], None)
        if future is not None:
            future.set_result((message, fds))
            return
        for descriptor in fds:  # of a second answer: such a mistake of the spawner's must keep nobody waiting for ever
            os.close(descriptor)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "exit":
            exited = Exited(event["id"], event["exit_code"], event["signal"], event["at"])
            with self._lock:
                callback = self._on_exit
                if callback is None:
                    self._held.append(exited)
            if callback is not None:
                _shielded(callback, exited)
        elif event["event"] == "exec_exit":
            with self._lock:
                ended = self._execs.pop(event["exec"], None)
                if ended is None:
                    self._ended_execs[event["exec"]] = event["exit_code"]
            if ended is not None:
                ended.set_result(event["exit_code"])
        elif event["event"] == "warnings" and self.on_warning is not None:
            _shielded(self.on_warning, event["id"], event["warnings"])

    def _lose(self) -> None:
        """The spawner is gone, or has another engine: nobody is left waiting."""
        with self._lock:
            asked_for, self._gone = self._gone, True
            waiting: list[Future[Any]] = [*self._replies.values(), *self._execs.values()]
            self._replies.clear()
            self._execs.clear()
        for future in waiting:
            future.set_exception(_lost())
        if not asked_for and self.on_lost is not None:
            self.on_lost()


def _shielded(callback: Callable[..., None], *values: Any) -> None:
    """Call back; the reader must go on whatever the callback's mistake."""
    try:
        callback(*values)
    except Exception:
        sys.excepthook(*sys.exc_info())


def _lost() -> SpawnerUnavailable:
    return SpawnerUnavailable("the connection to the spawner is gone", "start the engine again")


def _dial(directory: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    where = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The kernel takes 107 bytes; through the descriptor the directory's path may have any length.
        connection.connect(f"/proc/self/fd/{where}/spawner.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    finally:
        os.close(where)
    return connection


def _launch(directory: Path) -> None:
    """Start a spawner and wait until it listens."""
    # Its copies join containers, whose root, where that is the host's as well, finds the program they run at
    # /proc/PID/exe: so that is a file on a read-only mount. Source: CVE-2019-5736.
    interpreter = mount.clone_tree(sys.executable)
    mount.change(interpreter, set_=mount.RDONLY)
    told, ready = os.pipe2(os.O_CLOEXEC)
    program = Path(__file__).parent / "spawner" / "__main__.py"
    try:
        with open(directory / "spawner.log", "ab") as log:
            # Without site packages and without the environment: it needs the standard library alone.
            starter = subprocess.Popen(
                [sys.executable, "-P", "-S", "-E", "-s", str(program), str(directory), str(ready), str(interpreter)],
                executable=f"/proc/self/fd/{interpreter}",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(ready, interpreter),
                start_new_session=True,
            )
        os.close(ready)
        ready = -1
        starter.wait(_START_TIMEOUT_S)
        answer = os.read(told, 4096).decode(errors="replace")
    finally:
        os.close(told)
        os.close(interpreter)
        if ready >= 0:
            os.close(ready)
    if answer != "ok" and "temporarily unavailable" not in answer:
        raise SpawnerUnavailable(
            f"the spawner did not start: {answer or 'it ended at once'}", f"see {directory}/spawner.log"
        )


def _pipes() -> tuple[dict[str, int], list[int]]:
    """Three pipes: our ends by name, the process's in order."""
    in_read, in_write = os.pipe2(os.O_CLOEXEC)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    return {"stdin": in_write, "stdout": out_read, "stderr": err_read}, [in_read, out_write, err_write]
