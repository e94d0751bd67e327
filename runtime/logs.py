"""Reading what the spawner wrote of a container's output."""

from __future__ import annotations

import json
import os
import select
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, Any, Literal, Protocol, cast

from runtime.kernel.inotify import Watch

Stream = Literal["stdout", "stderr"]
_BOTH: frozenset[str] = frozenset(("stdout", "stderr"))
_BLOCK_BYTES = 64 * 1024
_SUFFIX = ".gz"
_HEADER_BYTES = 64
# How late the stop of a follower is noticed that has no descriptor to wait for.
_STOP_CHECK_MS = 200


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of output, or a part of a very long one.

    Args:
        time: RFC 3339, UTC, with nine digits of the second.
        log: With its newline; without one the line goes on in the next entry of its stream.
        attributes: What the log's options name, by name.
    """

    time: str
    stream: Stream
    log: str
    attributes: Mapping[str, str] = field(default_factory=dict)


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
    with ExitStack() as opened:
        files = _open_all(path, opened)
        yield from _tail(files, tail, chosen) if tail is not None else _whole(files, chosen)


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
    with ExitStack() as opened:
        files = _open_all(path, opened)
        watch = _watch(files[-1], opened)
        if tail is not None:
            yield from _tail(files, tail, chosen)
        else:
            yield from _whole(files, chosen)
        file = files[-1]
        while True:
            # In this order: what came before the stop, or before another file was begun, is in the file
            # by the time it is read.
            stopping, full = stop.is_set(), _is_full(path, file)
            _rewind_if_cut(file)
            yield from _entries(file, chosen)
            if full:
                # Closed afterwards: another file could have the number of its inode at once.
                with opened.pop_all():
                    file = _next_file(path, _inode(file), opened)
                watch = _watch(file, opened)
                continue
            if stopping or chosen.past:
                return
            _wait(watch, stop)


def _watch(file: IO[bytes], opened: ExitStack) -> Watch:
    """Of the file itself: its name may be another's by now."""
    watch = Watch(Path(f"/proc/self/fd/{file.fileno()}"))
    opened.callback(watch.close)
    return watch


def _numbered(path: Path) -> Iterator[Path]:
    """The file that is written to, and the full ones before it, the newest first."""
    yield path
    number = 1
    while True:
        older = path.with_name(f"{path.name}.{number}")
        if not older.exists() and not (older := _packed(older)).exists():
            return
        yield older
        number += 1


def _packed(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)


def _open_all(path: Path, opened: ExitStack) -> list[IO[bytes]]:
    """All files of a log, the oldest first. One that gets its number meanwhile is met twice, and taken once."""
    files: list[IO[bytes]] = []
    seen: set[int] = set()
    for one in _numbered(path):
        try:
            file = _open(one, opened)
        except FileNotFoundError:
            continue
        if _inode(file) not in seen:
            seen.add(_inode(file))
            files.insert(0, file)
    return files


def _open(path: Path, opened: ExitStack) -> IO[bytes]:
    if path.suffix != _SUFFIX:
        try:
            return opened.enter_context(open(path, "rb"))
        except FileNotFoundError:
            path = _packed(path)  # it has just been compressed
    return cast(IO[bytes], _Packed(opened.enter_context(open(path, "rb")), opened))


class _Packed:
    """A compressed file, which is unpacked as soon as anything is asked of it.

    Attributes:
        inode: Of the file that it was made of, which the header has in place of that one's name.
    """

    def __init__(self, file: IO[bytes], opened: ExitStack) -> None:
        self._file = file
        self._opened = opened
        self._whole: IO[bytes] | None = None
        # Source: RFC 1952, section 2.3: ten bytes, then the name, which ends with a NUL.
        self.inode = int(file.read(_HEADER_BYTES)[10:].partition(b"\0")[0])

    def __getattr__(self, name: str) -> Any:
        if self._whole is None:
            from gzip import GzipFile  # nobody else needs it

            self._whole = self._opened.enter_context(TemporaryFile())  # noqa: SIM115
            self._file.seek(0)
            with GzipFile(fileobj=self._file) as unpacking:
                copyfileobj(unpacking, self._whole)
            self._whole.seek(0)
        return getattr(self._whole, name)


def _inode(file: IO[bytes]) -> int:
    """Which file it is, whatever its name and form."""
    return file.inode if isinstance(file, _Packed) else os.fstat(file.fileno()).st_ino


def _next_file(path: Path, full: int, opened: ExitStack) -> IO[bytes]:
    """The one that was begun after a full one, which is known by its inode."""
    newer = path
    for one in _numbered(path):
        with ExitStack() as looked_at:
            if _inode(_open(one, looked_at)) == full:
                break
        newer = one
    else:
        newer = list(_numbered(path))[-1]  # it has left meanwhile: go on with the oldest
    return _open(newer, opened)


def _is_full(path: Path, file: IO[bytes]) -> bool:
    try:
        return path.stat().st_ino != _inode(file)
    except FileNotFoundError:
        return False  # removed, or about to be begun


def _rewind_if_cut(file: IO[bytes]) -> None:
    """A log of a single file is begun anew in its place."""
    if os.fstat(file.fileno()).st_size < file.tell():
        file.seek(0)


def _whole(files: Sequence[IO[bytes]], chosen: _Choice) -> Iterator[LogEntry]:
    for file in files:
        yield from _entries(file, chosen)


def _tail(files: Sequence[IO[bytes]], tail: int, chosen: _Choice) -> Iterator[LogEntry]:
    """The last entries; only as many files are read as it takes where any entry will do."""
    wanted: list[IO[bytes]] = list(files)
    if chosen.everything:
        wanted, missing = [], tail
        for file in reversed(files):
            wanted.insert(0, file)
            missing -= _seek_last_lines(file, missing)
            if missing <= 0:
                break
    yield from deque(_whole(wanted, chosen), tail)


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
            entry = LogEntry(fields["time"], fields["stream"], fields["log"], fields.get("attrs", {}))
        except (ValueError, KeyError, TypeError):
            continue  # what a full disk cut short
        if chosen.takes(entry):
            yield entry


def _seek_last_lines(file: IO[bytes], count: int) -> int:
    """Move to where the last lines begin, reading backwards so that a long log costs nothing.

    Returns:
        How many there are, at most count.
    """
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
            return count
        wanted -= found
    file.seek(0)
    return count + 1 - wanted
