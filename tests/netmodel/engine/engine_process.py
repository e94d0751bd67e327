"""An engine in a process of its own, so that it can be killed as a machine's memory killer would: at any moment.

The processes come from a zygote, which has imported all that an engine needs: an import costs many times what
an engine's start does. What they do is in engine_server.py.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipam.api import Usage
from netmodel.model import Container, Endpoint, Network
from tests.support.box import Box

_ANSWER_S = 60


class Refused(Exception):
    """The engine said no.

    Args:
        kind: Of the closed list of netmodel.errors.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Died(Exception):
    """The engine's process has ended before it answered."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an engine says of itself.

    Args:
        usage: By network id, for each of its pools.
        sandboxes: By the id of the container that owns it, the path of its network namespace.
    """

    networks: tuple[Network, ...]
    containers: tuple[Container, ...]
    endpoints: tuple[Endpoint, ...]
    usage: dict[str, tuple[Usage, ...]]
    sandboxes: dict[str, Path] = field(compare=False)
    warnings: tuple[str, ...] = ()

    def endpoints_of(self, container_id: str) -> list[Endpoint]:
        return [one for one in self.endpoints if one.container_id == container_id]

    def network(self, network_id: str) -> Network:
        return next(one for one in self.networks if one.id == network_id)


class EngineProcess:
    """One engine on a root, whose host is a Box.

    Args:
        fuse: The step of its start before which it is killed; 0 is none.
    """

    def __init__(self, zygote: Zygote, root: Path, host: Box, fuse: int = 0) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(_ANSWER_S)
        self._pid = zygote.fork(theirs)
        theirs.close()
        self._ended = os.pidfd_open(self._pid)
        self.ask("open", root, host.path, fuse=fuse)

    def ask(self, verb: str, *args: Any, fuse: int = 0, finer: bool = True, **kwargs: Any) -> Any:
        """Call a method of netmodel.engine.Engine, or one of engine_server.Server's.

        Args:
            fuse: The step of the call before which the process is killed; 0 is none.
            finer: Whether fuse.FINER are steps, too.

        Raises:
            Refused, Died: As they say.
            AssertionError: It failed in a way that users are never to see.
        """
        send(self._ours, (verb, args, kwargs, fuse, finer))
        answer = receive(self._ours)
        if answer is None:
            self._wait()
            raise Died(verb)
        kind, value = answer
        if kind == "":
            return value
        if kind == "bug":
            raise AssertionError(value)
        raise Refused(kind, value)

    def kill(self) -> None:
        """End it without a word."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._ended, signal.SIGKILL)
        self._wait()

    def close(self) -> None:
        """Let the engine close and its process end."""
        self.ask("close")
        self._ours.shutdown(socket.SHUT_RDWR)
        self._wait()

    def _wait(self) -> None:
        ready, _, _ = select.select([self._ended], [], [], _ANSWER_S)
        assert ready, f"process {self._pid} does not end"
        os.close(self._ended)
        self._ours.close()


class Zygote:
    """The process that engines are forked from."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.netmodel.engine.engine_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def fork(self, served: socket.socket) -> int:
        """Make a process that answers on a socket; returns its id."""
        socket.send_fds(self._ours, [b"fork"], [served.fileno()])
        return int(self._ours.recv(20))

    def close(self) -> None:
        self._ours.close()
        self._process.wait(_ANSWER_S)


def send(to: socket.socket, message: object) -> None:
    data = pickle.dumps(message)
    with contextlib.suppress(BrokenPipeError):  # it died; who waits for its answer learns of that
        to.sendall(len(data).to_bytes(4, "big") + data)


def receive(source: socket.socket) -> Any:
    head = _exactly(source, 4)
    data = head and _exactly(source, int.from_bytes(head, "big"))
    return pickle.loads(data) if data else None


def _exactly(source: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = source.recv(size - len(data))
        except ConnectionResetError:
            part = b""
        if not part:
            return None
        data += part
    return bytes(data)
