"""Files in and out of a container as tar streams, by a process that sees what the container sees.

A path in a container leads through links that the container made. Whoever follows them from outside has
to ask at every step where they lead; a process whose root is the container's cannot leave it. So each
transfer gets one, made for it: it enters a running container's namespaces, or mounts a stopped one's root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtime.codec import encode
from runtime.errors import RuntimeFault
from runtime.spec import BindMount, LayersMount, RootFs

_PIECE = 65536
_PROGRAM = os.path.join(os.path.dirname(__file__), "__main__.py")


@dataclass(frozen=True, slots=True)
class Running:
    """Args:
    pidfd: Of the container's first process; stays the caller's.
    own_users: It has a user namespace.
    """

    pidfd: int
    own_users: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """What it would see if it ran; nothing else may mount its writable layer meanwhile."""

    rootfs: RootFs
    mounts: Sequence[BindMount | LayersMount]


Place = Running | Stopped


@dataclass(frozen=True, slots=True)
class PathStat:
    """Args:
    mode: As stat(2) has it.
    link: Where it leads, whole, if it is a symbolic link; else "".
    """

    name: str
    size: int
    mode: int
    modified_at: datetime
    link: str


def stat(place: Place, path: str) -> PathStat:
    """Look at a path; a link at its end is not followed.

    Raises:
        RuntimeFault: It is not there.
    """
    with _started(place, {"verb": "stat", "path": path}) as process:
        found = process.answer()
    return PathStat(
        found["name"], found["size"], found["mode"], datetime.fromisoformat(found["modified_at"]), found["link"]
    )


def read(place: Place, path: str) -> Iterator[bytes]:
    """What is at a path, as a tar stream whose names begin with the path's last part."""
    with _started(place, {"verb": "read", "path": path}, stdout=subprocess.PIPE) as process:
        process.answer()
        output = process.popen.stdout
        assert output is not None
        while piece := os.read(output.fileno(), _PIECE):
            yield piece
        process.answer()


def write(place: Place, path: str, source: int, *, keep_owners: bool = False, replace_kinds: bool = True) -> None:
    """Unpack a tar stream, compressed or not, into a directory.

    Args:
        source: Descriptor to read it from; stays the caller's.
        keep_owners: Files belong to who the stream says, not to root.
        replace_kinds: A file may take a directory's place, and the reverse.
    """
    order = {"verb": "write", "path": path, "keep_owners": keep_owners, "replace_kinds": replace_kinds}
    with _started(place, order, stdin=source) as process:
        process.answer()


class _Process:
    def __init__(self, popen: subprocess.Popen[bytes], told: int) -> None:
        self.popen = popen
        self._lines = os.fdopen(told, "rb")

    def answer(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise RuntimeFault("the process that copies files ended without a word", f"exit code {self.popen.wait()}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise RuntimeFault(found["error"], found["hint"], kind=found["kind"])
        return found

    def close(self) -> None:
        self._lines.close()
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        # Whoever reads no further wants no more; one that has ended does not mind.
        self.popen.kill()
        self.popen.wait()


@contextmanager
def _started(
    place: Place, order: dict[str, Any], stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> Iterator[_Process]:
    told, tell = os.pipe2(os.O_CLOEXEC)
    fds = [tell]
    if isinstance(place, Running):
        order = {**order, "pidfd": place.pidfd, "own_users": place.own_users}
        fds.append(place.pidfd)
    else:
        order = {**order, "rootfs": encode(place.rootfs), "mounts": [encode(mount) for mount in place.mounts]}
    try:
        process = _Process(
            subprocess.Popen(
                [sys.executable, "-P", "-S", "-E", "-s", _PROGRAM, str(tell), json.dumps(order)],
                pass_fds=fds,
                stdin=stdin,
                stdout=stdout,
            ),
            told,
        )
    finally:
        os.close(tell)
    try:
        yield process
    finally:
        process.close()
