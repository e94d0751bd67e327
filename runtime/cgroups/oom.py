"""Being told that a control group is out of memory, as it happens."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from runtime.kernel.inotify import Watch


class OomWatch(Protocol):
    """Attributes:
    fd: Readable when something may have happened.
    """

    fd: int

    def happened(self) -> bool:
        """Whether it was out of memory since this was last asked."""

    def close(self) -> None: ...


class Notified:
    """Of v1: the kernel counts an eventfd up each time that the group is out of memory, before it kills anybody.

    Source: Linux Documentation/admin-guide/cgroup-v1/memory.rst, section 10.
    """

    def __init__(self, directory: str) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            what = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                control = os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(control, f"{self.fd} {what}".encode())
                finally:
                    os.close(control)
            finally:
                os.close(what)
        except BaseException:
            os.close(self.fd)
            raise

    def happened(self) -> bool:
        try:
            return os.eventfd_read(self.fd) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.fd)


class Counted:
    """Of v2: memory.events is written anew for events of several kinds, of which the kills count."""

    def __init__(self, directory: str, kills: Callable[[], int]) -> None:
        self._watch = Watch(Path(directory, "memory.events"))
        self._kills = kills
        self._seen = kills()
        self.fd = self._watch.fd

    def happened(self) -> bool:
        self._watch.drain()
        before, self._seen = self._seen, self._kills()
        return self._seen > before

    def close(self) -> None:
        self._watch.close()
