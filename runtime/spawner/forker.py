"""The process that every container and every further process is forked from.

A fork shares its memory with its maker page by page: each page that either side writes to while the
other still has it is copied first (5 microseconds on the development VM, some hundred pages). So the
maker is a process that does nothing else and stays as small as it was, whatever the spawner holds: it
has no container's descriptors to pass on, either. What it makes are the spawner's children
(CLONE_PARENT), not its own.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from runtime import wire
from runtime.codec import decode_container, decode_process
from runtime.errors import KernelRefused, RuntimeFault
from runtime.kernel import clone, prctl
from runtime.kernel.path import close_all_but
from runtime.launch import command, container
from runtime.launch.command import Visit
from runtime.launch.container import Birth
from runtime.launch.control import describe, recover
from runtime.launch.filesystems import CgroupView

Order = dict[str, Any]


class Forker:
    """The spawner's side: gives an order, and gets a process id."""

    def __init__(self) -> None:
        self.pid = 0
        self._socket: socket.socket | None = None
        # What it makes has the limit as it is now; the spawner raises its own.
        self._nofile = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.start()

    def start(self) -> None:
        """Fork it; while the spawner still is small."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = clone.clone()
        if self.pid == 0:
            try:
                close_all_but(frozenset((theirs.fileno(),)))
                resource.setrlimit(resource.RLIMIT_NOFILE, self._nofile)
                _serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        if self._socket is not None:
            self._socket.close()
        self._socket = ours

    def container(self, birth: Birth, spec: Order, flags: int) -> int:
        """Clone a container's first process into new namespaces."""
        return self._fork({"story": "container", "flags": flags, **_birth_order(birth, spec)}, _descriptors(birth))

    def joining(self, birth: Birth, spec: Order, flags: int, entered: Sequence[tuple[int, int]]) -> int:
        """Fork a messenger that makes the first process in namespaces that stand, and tells its id over control.

        Args:
            flags: The namespaces that are made for it.
            entered: Those that are not: descriptors and kinds, in the order of entering.
        """
        kinds = [kind for _, kind in entered]
        order = {"story": "joining", "flags": flags, "entered": kinds, **_birth_order(birth, spec)}
        return self._fork(order, [*(fd for fd, _ in entered), *_descriptors(birth)])

    def visit(self, visit: Visit, process: Order) -> int:
        """Fork a further process into a container's PID namespace."""
        order = {
            "story": "visit",
            "process": process,
            "namespaces": visit.namespaces,
            "cgroups": visit.cgroups,
        }
        return self._fork(order, [visit.control, visit.pidfd, *(visit.stdio or ())])

    def _fork(self, order: Order, fds: Sequence[int]) -> int:
        """Raises:
        OSError: What the kernel said to the clone.
        """
        answer = self._ask(order, fds)
        if answer is None:
            # Somebody has killed it; nothing of it is lost but time.
            self.start()
            answer = self._ask(order, fds)
        if answer is None:
            raise RuntimeFault("the process that forks containers died twice", "see the spawner's log")
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        if "error" in answer:
            raise recover(answer["error"])
        pid: int = answer["pid"]
        return pid

    def _ask(self, order: Order, fds: Sequence[int]) -> Order | None:
        assert self._socket is not None
        try:
            wire.send(self._socket, order, fds)
            received = wire.receive(self._socket)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return None if received is None else received[0]


def _birth_order(birth: Birth, spec: Order) -> Order:
    return {
        "spec": spec,
        "own_network": birth.own_network,
        "stdin": birth.stdio is not None and birth.stdio[0] >= 0,
        "views": [(view.name, view.kind, [name for name, _ in view.options]) for view in birth.cgroups],
    }


def _descriptors(birth: Birth) -> list[int]:
    return [birth.control, *(fd for fd in birth.stdio or () if fd >= 0)]


def _serve(connection: socket.socket) -> NoReturn:
    """Take orders until the spawner is gone."""
    prctl.die_with_parent(signal.SIGKILL)
    prctl.set_name("netmodel-fork")
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    while True:
        received = wire.receive(connection)
        if received is None:
            os._exit(0)
        order, fds = received
        answer: Order
        try:
            answer = {"pid": _STORIES[order["story"]](order, fds, home)}
        except OSError as error:
            answer = {"errno": error.errno or errno.EIO}
        except Exception as error:
            answer = {"error": describe(error)}
        for fd in fds:
            os.close(fd)
        wire.send(connection, answer)


def _container(order: Order, fds: list[int], _home: int) -> int:
    birth = _birth(order, fds)
    pid = clone.clone(order["flags"] | clone.CLONE_PARENT)
    if pid == 0:
        container.run(birth, birth.spec.cgroups)
    return pid


def _joining(order: Order, fds: list[int], _home: int) -> int:
    kinds = order["entered"]
    birth = _birth(order, fds[len(kinds) :])

    def enter() -> None:
        for fd, kind in zip(fds, kinds, strict=False):  # what follows is the child's
            clone.enter(fd, kind)

    pid = clone.clone(clone.CLONE_PARENT)
    if pid == 0:
        command.fork_inside(birth.control, birth.spec.cgroups, enter, order["flags"], lambda: container.run(birth))
    return pid


def _visit(order: Order, fds: list[int], home: int) -> int:
    process = decode_process(order["process"])
    stdio = None if process.terminal else (fds[2], fds[3], fds[4])
    cgroups, filter_ = tuple(order["cgroups"]), _filter(process.seccomp)
    visit = Visit(process, fds[0], fds[1], order["namespaces"], cgroups, stdio, filter_)
    pid = clone.clone_in_pid_namespace(visit.pidfd, home, clone.CLONE_PARENT)
    if pid == 0:
        command.run(visit)
    return pid


def _birth(order: Order, fds: list[int]) -> Birth:
    spec = decode_container(order["spec"])
    stdio = None
    if not spec.process.terminal:
        stdio = (fds[1], fds[2], fds[3]) if order["stdin"] else (-1, fds[1], fds[2])
    return Birth(
        spec=spec,
        control=fds[0],
        own_network=order["own_network"],
        own_users=spec.idmap is not None,
        stdio=stdio,
        cgroups=tuple(
            CgroupView(name, kind, tuple((option, None) for option in options))
            for name, kind, options in order["views"]
        ),
        filter_=_filter(spec.process.seccomp),
    )


@lru_cache(8)
def _filter(path: str) -> bytes:
    """A program for seccomp; such a file is named after what is in it."""
    if not path:
        return b""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, os.fstat(file).st_size)
        finally:
            os.close(file)
    except OSError as error:
        raise KernelRefused(f"read the filter of system calls {path}", error) from None


_STORIES: dict[str, Callable[[Order, list[int], int], int]] = {
    "container": _container,
    "joining": _joining,
    "visit": _visit,
}
