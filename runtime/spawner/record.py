"""What the spawner knows about one container, one sandbox, one further process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.spawner.log import LogPump
from runtime.spawner.memory import SharedMemory

Reply = Callable[[dict[str, Any]], None]

# What is told of a child that could not tell anything itself.
DIED = {"message": "the process was killed before its program could start", "kind": "internal", "hint": "", "code": 128}


@dataclass(slots=True)
class Pin:
    """A sandbox: its namespaces live as long as these descriptors.

    Args:
        network: None for the host's.
        users: None where the sandbox belongs to the host's user namespace.
        base: The host's id for root in it.
    """

    network: int | None
    users: int | None
    base: int

    def close(self) -> None:
        for fd in (self.network, self.users):
            if fd is not None:
                os.close(fd)


@dataclass(slots=True)
class Ipc:
    """An IPC namespace and its shared memory, for those who share it and for its owner's next life.

    Args:
        namespace: -1 until there is a first process in it.
    """

    memory: SharedMemory
    namespace: int = -1

    def close(self) -> None:
        self.memory.close()
        if self.namespace >= 0:
            os.close(self.namespace)


@dataclass(slots=True)
class Container:
    """Args:
    pid: 0 while a process made for it is still to tell which one it is.
    control: Until its program runs.
    failure: Why it will never run, as JSON; told to whoever wants to start it.
    waiting: Who is to be told how the start went.
    executing: Its child has said that all that is left is the program itself.
    """

    id: str
    sandbox: str
    namespaces: int
    cgroups: tuple[str, ...]
    pid: int = 0
    state: str = "created"
    control: socket.socket | None = None
    logs: LogPump | None = None
    terminal: int = -1
    stdin: int = -1
    failure: dict[str, Any] | None = None
    waiting: Reply | None = None
    executing: bool = False
    exit_code: int | None = None
    signal: int | None = None
    started_at: float | None = None
    finished_at: float | None = None

    def status(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "sandbox": self.sandbox,
            "pid": self.pid,
            "state": self.state,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
        }


@dataclass(slots=True)
class Visitor:
    """A further process in a container."""

    id: str
    pid: int
    reply: Reply
    control: socket.socket | None
    executing: bool = False
    started: bool = False
    failure: dict[str, Any] | None = None
    terminal: list[int] = field(default_factory=list)
    status: int | None = None


def exit_of(status: int) -> tuple[int, int | None]:
    """A wait status as a shell's exit code, and the signal where there was one."""
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (128 - code, -code)
