"""Reading what the spawner wrote of a container's output."""

from __future__ import annotations

import json
import os
import select
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Literal, Protocol

from runtime.kernel.inotify import Watch

Stream = Literal["stdout", "stderr"]
_BOTH: frozenset[str] = frozenset(("stdout", "stderr"))
_BLOCK_BYTES = 64 * 1024
# How late the stop of a follower is noticed that has no descriptor to wait for.
_STOP_CHECK_MS = 200


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of output, or a part of a very long one.

    Args:
        time: RFC 3339, UTC, with nine digits of the second.
        log: With its newline; without one the line goes on in the next entry of its stream.
    """

    time: str
    stream: Stream
    log: str


class Stop(Protocol):
    """What tells a follower to end: a threading.Event, or a StopSignal, which is noticed at once."""

    def is_set(self) -> bool: ...


class StopSignal:
    """An event that a follower waits for together with the file."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._set = False

    def set(self) -> None:
        self._set = True
        os.eventfd_write(self._fd, 1)

    def is_set(self) -> bool:
        return self._set

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def read(
    path: Path,
    tail: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    streams: Collection[str] = _BOTH,
) -> Iterator[LogEntry]:
    """The entries of a log, oldest first; none where there is no log yet.

    Args:
        tail: Only that many of the last entries, counted after the other choices.
        since, until: Times to the microsecond; both inclusive.
    """
    chosen = _Choice(since, until, frozenset(streams))
    if not path.exists():
        return
    with open(path, "rb") as file:
        if tail is not None:
            if chosen.everything:
                _seek_last_lines(file, tail)
            yield from deque(_entries(file, chosen), tail)
        else:
            yield from _entries(file, chosen)


def follow(
    path: Path,
    stop: Stop,
    tail: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    streams: Collection[str] = _BOTH,
) -> Iterator[LogEntry]:
    """The entries so far as read() gives them, then each new one as it is written, until stop is set.

    What was written before the stop still comes.
    """
    chosen = _Choice(since, until, frozenset(streams))
    path.touch(exist_ok=True)
    watch = Watch(path)
    try:
        with open(path, "rb") as file:
            if tail is not None:
                if chosen.everything:
                    _seek_last_lines(file, tail)
                yield from deque(_entries(file, chosen), tail)
            while True:
                # In this order: what came before the stop is in the file by the time it is read.
                stopping = stop.is_set()
                yield from _entries(file, chosen)
                if stopping or chosen.past:
                    return
                _wait(watch, stop)
    finally:
        watch.close()


def _wait(watch: Watch, stop: Stop) -> None:
    poll = select.poll()
    poll.register(watch.fd, select.POLLIN)
    fileno = getattr(stop, "fileno", None)
    if fileno is not None:
        poll.register(fileno(), select.POLLIN)
    poll.poll(None if fileno is not None else _STOP_CHECK_MS)
    watch.drain()


class _Choice:
    """Which entries are wanted. Times are compared as text, which their fixed form allows."""

    def __init__(self, since: datetime | None, until: datetime | None, streams: frozenset[str]) -> None:
        self._since = _text(since, "000")
        self._until = _text(until, "999")
        self._streams = streams
        self.everything = since is None and until is None and streams >= _BOTH
        self.past = False

    def takes(self, entry: LogEntry) -> bool:
        if self._until is not None and entry.time > self._until:
            self.past = True
            return False
        return entry.stream in self._streams and (self._since is None or entry.time >= self._since)


def _text(moment: datetime | None, nanoseconds: str) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}{nanoseconds}Z"


def _entries(file: IO[bytes], chosen: _Choice) -> Iterator[LogEntry]:
    """From the present place to the end; a line that is being written is left for the next time."""
    while not chosen.past:
        place = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(place)
            return
        try:
            fields = json.loads(line)
            entry = LogEntry(fields["time"], fields["stream"], fields["log"])
        except (ValueError, KeyError, TypeError):
            continue  # what a full disk cut short
        if chosen.takes(entry):
            yield entry


def _seek_last_lines(file: IO[bytes], count: int) -> None:
    """Move to where the last lines begin, reading backwards so that a long log costs nothing."""
    position = file.seek(0, os.SEEK_END)
    wanted = count + 1  # the newline before the first of them
    while position > 0:
        step = min(_BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        block = file.read(step)
        found = block.count(b"\n")
        if found >= wanted:
            cut = len(block)
            for _ in range(wanted):
                cut = block.rindex(b"\n", 0, cut)
            file.seek(position + cut + 1)
            return
        wanted -= found
    file.seek(0)
