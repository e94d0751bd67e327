"""The latest events in a file, for who asks later, also of the next engine."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from netmodel import codec
from netmodel.engine.values import Event


class EventLog:
    """A line of JSON an event. What the disk does not take is forgotten: nothing waits for an event, nothing fails.

    Args:
        keep: How many there are at least, if so many happened; at most twice as many.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        self._keep = keep
        self._lines: deque[bytes] = deque(maxlen=keep)
        with suppress(FileNotFoundError):
            self._lines.extend(path.read_bytes().splitlines(keepends=True))
        # A line that was cut off, where the engine died over it, begins no other's.
        if self._lines and not self._lines[-1].endswith(b"\n"):
            self._lines.pop()
        self._count = 0
        self._fd = -1
        with suppress(OSError):
            self._begin()

    def events(self) -> list[Event]:
        """What the file had when it was opened, oldest first."""
        found = []
        for line in self._lines:
            with suppress(codec.BadJson):  # another version's
                found.append(codec.loads(Event, line))
        return found

    def append(self, event: Event) -> None:
        line = codec.dumps(event) + b"\n"
        self._lines.append(line)
        self._count += 1
        with suppress(OSError):
            if self._count >= 2 * self._keep or self._fd < 0:
                self._begin()
            else:
                os.write(self._fd, line)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin(self) -> None:
        """Write those that are kept into a file that takes the place of the one before."""
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(b"".join(self._lines))
        fresh.chmod(0o600)
        fd = os.open(fresh, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        fresh.rename(self._path)
        self.close()
        self._fd, self._count = fd, len(self._lines)
