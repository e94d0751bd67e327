"""A Box is a fresh network namespace that a test owns; the "host" of a test is one, too."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def in_thread(work: Callable[[], T]) -> T:
    """Run work in a thread of its own, so that the namespaces it enters die with it."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


class Box:
    """One network namespace, alive as long as its descriptor."""

    def __init__(self, name: str) -> None:
        self.name = name

        def make() -> int:
            _check(_libc.unshare(CLONE_NEWNET))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_thread(make)
        # By our process id, so that the path means the same in every process that we start.
        self.path = Path(f"/proc/{os.getpid()}/fd/{self.fd}")

    @classmethod
    def at(cls, name: str, path: Path) -> Box:
        """A namespace that somebody else made: a container's."""
        box = cls.__new__(cls)
        box.name, box.path = name, path
        box.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return box

    def setns(self) -> None:
        """Move the calling thread here; threads and processes it starts follow.

        As the preexec_fn of a process it would cost four times as much as starting it from a thread that is here:
        the process would be a copy of this one, page tables and all, instead of borrowing its memory (vfork).
        """
        _check(_libc.setns(self.fd, CLONE_NEWNET))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is here inside the block, and back where it was after it."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.setns()
        try:
            yield
        finally:
            _check(_libc.setns(before, CLONE_NEWNET))
            os.close(before)

    def open(self, factory: Callable[[], T]) -> T:
        """Call factory inside; the sockets it opens stay here."""

        def body() -> T:
            self.setns()
            return factory()

        return in_thread(body)

    def run(self, *argv: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program here and wait for it."""
        with self.entered():
            return subprocess.run(argv, check=check, capture_output=True, text=True, input=text, timeout=60)

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program here; the test ends it."""
        with self.entered():
            return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def close(self) -> None:
        os.close(self.fd)
