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

from netmodel.client import Client, ClientError

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
) -> None:
    """Show what comes and, if interactive, send what is typed, until the other side closes."""
    if tty and interactive and sys.stdin.isatty():
        with _raw(sys.stdin.fileno()), _window_changes(resize):
            _carry(connection, arrived, tty=True, interactive=True)
    else:
        _carry(connection, arrived, tty=tty, interactive=interactive)


def _carry(connection: socket.socket, arrived: bytes, *, tty: bool, interactive: bool) -> None:
    show = _show_raw if tty else _Frames().show
    show(arrived)
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if interactive:
        poll.register(0, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                data = os.read(0, _PIECE)
                if data:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        connection.sendall(data)
                else:
                    poll.unregister(0)
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_WR)
            else:
                try:
                    data = connection.recv(_PIECE)
                except ConnectionResetError:
                    return
                if not data:
                    return
                show(data)


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
