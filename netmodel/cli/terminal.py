"""Two-way conversation over a raw connection: our terminal here, a program's there."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from netmodel.client import Client, ClientError

DETACH_KEYS = "ctrl-p,ctrl-q"  # Docker's

_PIECE = 65536
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PATIENCE = 3  # so many interrupts, and we go without it


def talk(
    connection: socket.socket,
    arrived: bytes,
    *,
    tty: bool,
    interactive: bool,
    resize: Callable[[int, int], Any],
    detach_keys: str = DETACH_KEYS,
) -> bool:
    """Show what comes and, if interactive, send what is typed, until the other side closes.

    Returns:
        Whether it ended by the keys that detach from a terminal.
    """
    if tty and interactive and sys.stdin.isatty():
        with _raw(sys.stdin.fileno()), _window_changes(resize):
            return _carry(connection, arrived, tty=True, interactive=True, keys=Keys(detach_keys))
    return _carry(connection, arrived, tty=tty, interactive=interactive, keys=None)


class Keys:
    """Watches what is typed for a sequence of keys, and holds back what may be its beginning.

    Args:
        text: As Docker has it: "ctrl-p,ctrl-q"; "" is no sequence.
    """

    def __init__(self, text: str) -> None:
        self._sequence = b"".join(_key(name) for name in text.split(",")) if text else b""
        self._held = b""

    @property
    def holding(self) -> bool:
        return bool(self._held)

    def typed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be sent, and whether the sequence was typed."""
        data, self._held = self._held + data, b""
        if not self._sequence:
            return data, False
        if self._sequence in data:
            return data[: data.index(self._sequence)], True
        for length in range(min(len(self._sequence) - 1, len(data)), 0, -1):
            if data.endswith(self._sequence[:length]):
                self._held = data[-length:]
                return data[:-length], False
        return data, False


def _key(name: str) -> bytes:
    if len(name) == 1:
        return name.encode()
    letter = name.removeprefix("ctrl-").upper()
    if name.startswith("ctrl-") and len(letter) == 1 and 0x40 <= ord(letter) <= 0x5F:
        return bytes((ord(letter) - 0x40,))
    raise click.UsageError(f"{name!r} is no key that detaches: a character, or ctrl- and a letter or one of @[\\]^_")


def _carry(connection: socket.socket, arrived: bytes, *, tty: bool, interactive: bool, keys: Keys | None) -> bool:
    show = _show_raw if tty else _Frames().show
    show(arrived)
    poll, unsent = select.poll(), memoryview(b"")
    poll.register(connection, select.POLLIN)
    if interactive:
        poll.register(0, select.POLLIN)
    while True:
        for descriptor, events in poll.poll():
            if descriptor == 0:
                data = os.read(0, _PIECE)
                data, detached = keys.typed(data) if keys and data else (data, False)
                if detached:
                    return True
                unsent = memoryview(data)
                if unsent:
                    # Not at all while the other side is busy, which it may be with what we are to show.
                    poll.unregister(0)
                elif not (keys and keys.holding):
                    poll.unregister(0)
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
            elif events & ~select.POLLOUT:
                try:
                    data = connection.recv(_PIECE)
                except ConnectionResetError:
                    return False
                if not data:
                    return False
                show(data)
        if unsent:
            unsent = _send(connection, unsent)
            poll.modify(connection, select.POLLIN | (select.POLLOUT if unsent else 0))
            if not unsent:
                poll.register(0, select.POLLIN)


def _send(connection: socket.socket, data: memoryview) -> memoryview:
    """Send as much as goes without waiting; returns what is left."""
    try:
        return data[connection.send(data, socket.MSG_DONTWAIT) :]
    except BlockingIOError:
        return data
    except (BrokenPipeError, ConnectionResetError):
        return memoryview(b"")  # it does not listen any more; what it has said is still to be read


def _show_raw(data: bytes) -> None:
    _write(1, data)


class _Frames:
    """Docker's framing of two outputs: stream, three zeros, length, data."""

    def __init__(self) -> None:
        self._rest = b""

    def show(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 8:
            stream, length = struct.unpack_from(">BxxxI", self._rest)
            if len(self._rest) < 8 + length:
                return
            _write(2 if stream == 2 else 1, self._rest[8 : 8 + length])
            self._rest = self._rest[8 + length :]


def show_frames(pieces: Iterator[bytes], *, tty: bool) -> None:
    """Show a stream of output that only comes: a log."""
    show = _show_raw if tty else _Frames().show
    for piece in pieces:
        show(piece)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the program: no echo, no line editing, no signals of ours."""
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead stays
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _window_changes(resize: Callable[[int, int], Any]) -> Iterator[None]:
    def tell(*_: object) -> None:
        with contextlib.suppress(ClientError, OSError):
            size = os.get_terminal_size(0)
            resize(size.lines, size.columns)

    before = signal.signal(signal.SIGWINCH, tell)
    tell()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def forwarded_signals(client: Client, container: str, *, enabled: bool) -> Iterator[None]:
    """Pass the signals we get on to the container; who insists gets away without it."""
    count = 0

    def forward(signum: int, _: object) -> None:
        nonlocal count
        count += signum in (signal.SIGINT, signal.SIGTERM)
        if count >= _PATIENCE:
            raise KeyboardInterrupt
        with contextlib.suppress(ClientError, OSError):
            client.post(f"/containers/{container}/kill", signal=signal.Signals(signum).name)

    before = {signum: signal.signal(signum, forward) for signum in _FORWARDED} if enabled else {}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def console_size() -> list[int] | None:
    """Rows and columns of our terminal."""
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return None
    return [size.lines, size.columns]
