"""Processes of netmodel out of a fork server: what one loads before it begins costs several times what it does.

`Forked()` is what `netmodel engine run` is, and `command()` what any command is, in a process and a network namespace
of its own: that command's code, but begun where all is loaded. A process of pytest has up to two servers, one with an
engine loaded and one with the command line, which end with it. Their arguments are a socket and modules to load.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.support.box import Box

_ENGINE = ("netmodel.cli.engine", "netmodel.daemon.process", "netmodel.daemon.server")
_COMMAND = (
    *(
        f"netmodel.cli.{name}"
        for name in ("containers", "execute", "images", "inspect", "network", "ps", "run", "volume")
    ),
    *("netmodel.cli.project", "netmodel.cli.files", "netmodel.client.api", "netmodel.topology.loader"),
)
_MOST = 200_000


class Child:
    """A process of netmodel.

    Args:
        files: Its standard input, output and errors, which stay the caller's.
    """

    def __init__(
        self, box: Box, environment: Mapping[str, str], argv: Sequence[str], loaded: tuple[str, ...], files: list[int]
    ) -> None:
        self._told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with telling:
            order = pickle.dumps((dict(environment), tuple(argv)))
            socket.send_fds(_server(loaded), [order], [box.fd, *files, telling.fileno()])
        self.pid = int(self._told.recv(20))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or minus the signal; None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code, or minus the signal."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("netmodel", timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = int(self._told.recv(20))
        self._told.close()


class Forked(Child):
    """An engine, with as much of subprocess.Popen as tests of engines use."""

    def __init__(self, box: Box, environment: Mapping[str, str]) -> None:
        output, its_output = os.pipe()
        errors, its_errors = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            super().__init__(box, environment, ["engine", "run"], _ENGINE, [nothing, its_output, its_errors])
        finally:
            for descriptor in (nothing, its_output, its_errors):
                os.close(descriptor)
        self.stdout, self._errors = os.fdopen(output), os.fdopen(errors)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it printed."""
        self.wait(timeout)
        with self.stdout, self._errors:
            return self.stdout.read(), self._errors.read()


def command(box: Box, environment: Mapping[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its input is empty."""
    with (
        open(os.devnull, "rb") as nothing,
        os.fdopen(os.memfd_create("output"), "r+") as output,
        os.fdopen(os.memfd_create("errors"), "r+") as errors,
    ):
        child = Child(box, environment, argv, _COMMAND, [nothing.fileno(), output.fileno(), errors.fileno()])
        try:
            code = child.wait(60)
        finally:
            with suppress(ProcessLookupError):
                child.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(["netmodel", *argv], code, output.read(), errors.read())


@functools.cache
def _server(loaded: tuple[str, ...]) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), *loaded],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(asked: socket.socket) -> Sequence[str]:
    """Fork for each message; returns the arguments in a process that is to be netmodel."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, _MOST, 5, socket.MSG_CMSG_CLOEXEC)
        if not message:
            sys.exit()
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            netns, *files, telling = descriptors
            pid = os.fork()
            if pid != 0:
                for one in (netns, *files):
                    os.close(one)
                _watch(pid, socket.socket(fileno=telling))
            os.close(telling)
            environment, argv = pickle.loads(message)
            os.environ.clear()
            os.environ.update(environment)
            box = Box.at("host", Path(f"/proc/self/fd/{netns}"))
            box.setns()
            box.close()
            for number, one in enumerate(files):
                os.dup2(one, number)
                os.close(one)
            os.close(netns)
            os.chdir("/")
            return argv  # type: ignore[no-any-return]
        for one in descriptors:
            os.close(one)


def _watch(pid: int, telling: socket.socket) -> NoReturn:
    """Its parent: only that learns how it ends."""
    telling.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    telling.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()
    asked_for = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = ["netmodel", *asked_for]
    sys.exit(importlib.import_module("netmodel.cli").main(asked_for))
