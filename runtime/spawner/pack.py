"""Compressing log files that are full, each in a process of its own: the spawner has no time for that."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NoReturn

from runtime.kernel import clone, prctl
from runtime.kernel.path import close_all_but

SUFFIX = ".gz"
_CHUNK = 1 << 16


class Packer:
    """Only this names what such a process has made, so that no file gets another number meanwhile."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[str, str, int]] = {}  # path, what is made, the full file held open

    def begin(self, path: str) -> None:
        """Compress the log file that has just got the number 1; where that cannot be, it stays as it is.

        Args:
            path: The log's.
        """
        with suppress(OSError):
            full = os.open(f"{path}.1", os.O_RDONLY | os.O_CLOEXEC)
            try:
                inode = os.fstat(full).st_ino
                packed = f"{path}.{inode}.part"
                pid = clone.clone()
            except BaseException:
                os.close(full)
                raise
            if pid == 0:
                _pack(full, packed, inode)
            # Held until ended(): were it forgotten meanwhile, a younger file could have its inode's number.
            self._jobs[pid] = path, packed, full

    def ended(self, pid: int, status: int) -> bool:
        """Put what was compressed in its place; False for a process that is none of ours."""
        job = self._jobs.pop(pid, None)
        if job is None:
            return False
        path, packed, full = job
        with suppress(OSError):
            place = _named(path, os.fstat(full).st_ino) if status == 0 else ""
            if place:
                os.rename(packed, place + SUFFIX)
                os.unlink(place)
            else:
                os.unlink(packed)
        os.close(full)
        return True


def _named(path: str, inode: int) -> str:
    """What the file is called by now; "" when it has gone already."""
    number = 1
    while True:
        name = f"{path}.{number}"
        try:
            if os.stat(name).st_ino == inode:
                return name
        except FileNotFoundError:
            if not os.path.exists(name + SUFFIX):
                return ""
        number += 1


def _pack(full: int, packed: str, inode: int) -> NoReturn:
    """The whole story of the process; its file's header has the number of the inode that it was made of."""
    code = 1
    try:
        close_all_but(frozenset((full,)))
        prctl.die_with_parent(signal.SIGKILL)
        os.nice(19)
        from gzip import GzipFile  # by this process alone: the spawner stays small

        out = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(out, "wb") as raw, GzipFile(str(inode), "wb", 6, raw, 0) as made:
            while piece := os.read(full, _CHUNK):
                made.write(piece)
        code = 0
    finally:
        os._exit(code)
