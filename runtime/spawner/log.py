"""A container's output on its way to who is attached, and into its log: a JSON object a line, with stream and time.

Lines are kept whole up to 16 KiB, as Docker does; a longer one is cut there, and its parts end
without a newline except for the last. Bytes that are no UTF-8 are lone surrogates there, as Python escapes them.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from json.encoder import encode_basestring, encode_basestring_ascii

from runtime.spawner.audience import Audience
from runtime.spawner.loop import Loop
from runtime.spawner.pack import SUFFIX, Packer

_LINE_BYTES = 16 * 1024
# At one turn: 20 ms of work where lines are as short as a flood can make them.
_READ_BYTES = 16 * 1024


class LogFile:
    """The file that is written to; full, it gets a number and another takes its place.

    Args:
        max_bytes: 0 is never full.
        files: How many are kept, this one among them.
        packer: Compresses those that have a number.
        attributes: What each line has as attrs, as JSON; "" is none.
    """

    def __init__(
        self, path: str, max_bytes: int = 0, files: int = 1, packer: Packer | None = None, attributes: str = ""
    ) -> None:
        self.ending = f',"attrs":{attributes}}}\n' if attributes else "}\n"
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._packer = packer
        self._fd = self._open(path)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        """Append whole lines."""
        try:
            while self._max_bytes and self._size + len(data) > self._max_bytes:
                end = self._fitting(data)
                self._append(data[:end])
                data = data[end:]
                # Not once it is full: who follows it has until the next line to read the last one.
                if data:
                    self._rotate()
            self._append(data)
        except OSError:
            pass  # a full disk must not stop the container, nor the others

    def close(self) -> None:
        os.close(self._fd)

    def _fitting(self, data: bytes) -> int:
        """The length of the lines that there is room for; in an empty file of one at least."""
        end = data.rfind(b"\n", 0, max(self._max_bytes - self._size, 0)) + 1
        return end or (0 if self._size else data.index(b"\n") + 1)

    def _append(self, data: bytes) -> None:
        self._size += len(data)
        while data:
            data = data[os.write(self._fd, data) :]

    def _begin_another(self, older: str) -> None:
        """Without a moment in which there is no file: who follows it is told once, by its last name's going."""
        os.link(self._path, older)
        fresh = self._open(f"{self._path}.new")
        os.rename(f"{self._path}.new", self._path)
        os.close(self._fd)
        self._fd = fresh

    def _open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def _rotate(self) -> None:
        if self._files < 2:
            os.ftruncate(self._fd, 0)
        else:
            self._forget(self._files - 1)
            for number in range(self._files - 1, 1, -1):
                for suffix in ("", SUFFIX):
                    older = f"{self._path}.{number - 1}{suffix}"
                    if os.path.exists(older):
                        os.rename(older, f"{self._path}.{number}{suffix}")
            self._begin_another(f"{self._path}.1")
            if self._packer is not None:
                self._packer.begin(self._path)
        self._size = 0

    def _forget(self, number: int) -> None:
        for suffix in ("", SUFFIX):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._path}.{number}{suffix}")


class Stream:
    """One pipe (or terminal), and where what comes out of it goes."""

    def __init__(self, name: str, fd: int, log: LogFile | None, audience: Audience, joined: bool) -> None:
        self.fd = fd
        self._joined = joined
        self._name = name
        self._log = log
        self._audience = audience
        self._rest = b""

    def pump(self) -> bool:
        """Move what is there at the moment, a bounded amount; False once there can be no more."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:  # EIO: the last process of a terminal has closed it
            data = b""
        if not data:
            return False
        self._audience.tell(self._name, data)
        if self._log is None:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        whole = [line + b"\n" for line in lines]
        entries = [part for line in whole for part in _cut(line)]
        while len(self._rest) > _LINE_BYTES:  # one byte more tells whether a character ends there
            size = _boundary(self._rest)
            entries.append(self._rest[:size])
            self._rest = self._rest[size:]
        if self._rest and not self._joined:
            entries.append(self._rest)
            self._rest = b""
        self._write(entries)
        return True

    def finish(self) -> None:
        """Move what the processes left, without waiting for more, then close.

        A process outside the container may hold the pipe's other end; nobody waits for that.
        """
        for _ in range(64):
            if not _readable(self.fd) or not self.pump():
                break
        self.settle()
        os.close(self.fd)

    def settle(self) -> None:
        """Write the beginning of a line without waiting for its end."""
        if self._rest:
            self._write([self._rest])
            self._rest = b""

    def _write(self, entries: list[bytes]) -> None:
        if not entries or self._log is None:
            return
        now = timestamp(time.time_ns())
        ending = self._log.ending
        text = "".join(f'{{"time":"{now}","stream":"{self._name}","log":{_text(entry)}{ending}' for entry in entries)
        self._log.write(text.encode())


class LogPump:
    """The streams of one container, watched while it runs.

    Args:
        file: None keeps nothing.
    """

    def __init__(self, loop: Loop, file: LogFile | None, audience: Audience) -> None:
        self._loop = loop
        self._log = file
        self.audience = audience
        self._streams: list[Stream] = []

    def add(self, name: str, fd: int, joined: bool = True) -> None:
        """Take over a descriptor to read from.

        Args:
            joined: The start of a line waits for its end; False for a terminal, whose prompts have none.
        """
        os.set_blocking(fd, False)
        stream = Stream(name, fd, self._log, self.audience, joined)
        self._streams.append(stream)

        def pump() -> None:
            if not stream.pump():
                # Closed by the process, which may live on: only a loop that watches it on would spin.
                self._loop.forget(fd)
            elif self.audience.full:
                # Who is attached and reads slowly slows the container down: what it prints must not pile up here.
                self._loop.forget(fd)
                self.audience.at_room(watch)

        def watch() -> None:
            self._loop.watch(fd, pump, patient=True)

        watch()

    def settle(self) -> None:
        """Let the log have all that was printed so far."""
        for stream in self._streams:
            stream.settle()

    def close(self) -> None:
        """Write what is left and let go."""
        for stream in self._streams:
            self._loop.forget(stream.fd)
            stream.finish()
        self._streams.clear()
        self.audience.close()
        if self._log is not None:
            self._log.close()


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _text(entry: bytes) -> str:
    try:
        return encode_basestring(entry.decode())
    except UnicodeDecodeError:
        return encode_basestring_ascii(entry.decode(errors="surrogateescape"))


def _cut(line: bytes) -> list[bytes]:
    parts = []
    while len(line) > _LINE_BYTES:
        size = _boundary(line)
        parts.append(line[:size])
        line = line[size:]
    return [*parts, line]


def _boundary(data: bytes) -> int:
    """Where to cut so that no character of UTF-8 is cut through."""
    size = _LINE_BYTES
    while size > _LINE_BYTES - 4 and size < len(data) and data[size] & 0xC0 == 0x80:
        size -= 1
    return size


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with all nine digits of the nanoseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
