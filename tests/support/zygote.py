"""Engines out of a fork server. What one loads before it begins costs several times what it does as an engine.

`Forked()` is what `netmodel engine run` is, in a process and a network namespace of its own: that command's code, but
begun where all is loaded. Each process of pytest has one server, which ends with it. Its argument is a socket.
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
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tests.support.box import Box

_LOADED = ("netmodel.cli.engine", "netmodel.daemon.process", "netmodel.daemon.server")
_MOST_ENVIRONMENT = 200_000


class Forked:
    """An engine, with as much of subprocess.Popen as tests of engines use."""

    def __init__(self, box: Box, environment: Mapping[str, str]) -> None:
        self._told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output, its_output = os.pipe()
        errors, its_errors = os.pipe()
        passed = [box.fd, its_output, its_errors, telling.fileno()]
        socket.send_fds(_server(), [pickle.dumps(dict(environment))], passed)
        telling.close()
        os.close(its_output)
        os.close(its_errors)
        self.stdout, self._errors = os.fdopen(output), os.fdopen(errors)
        self.pid = int(self._told.recv(20))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or minus the signal; None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._end()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it printed."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("engine run", timeout or 0)
            self._end()
        with self.stdout, self._errors:
            return self.stdout.read(), self._errors.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = int(self._told.recv(20))
        self._told.close()


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
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


def _serve(asked: socket.socket) -> None:
    """Fork for each message; returns in a process that is to be an engine."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, _MOST_ENVIRONMENT, 4, socket.MSG_CMSG_CLOEXEC)
        if not message:
            sys.exit()
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            netns, output, errors, telling = descriptors
            pid = os.fork()
            if pid != 0:
                for one in (netns, output, errors):
                    os.close(one)
                _watch(pid, socket.socket(fileno=telling))
            os.close(telling)
            os.environ.clear()
            os.environ.update(pickle.loads(message))
            box = Box.at("host", Path(f"/proc/self/fd/{netns}"))
            box.setns()
            box.close()
            for number, one in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, errors)):
                os.dup2(one, number)
                os.close(one)
            os.close(netns)
            os.chdir("/")
            return
        for one in descriptors:
            os.close(one)


def _watch(pid: int, telling: socket.socket) -> NoReturn:
    """Its parent: only that learns how it ends."""
    telling.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    telling.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    for name in _LOADED:
        importlib.import_module(name)
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(importlib.import_module("netmodel.cli").main(["engine", "run"]))
