"""The engine's end of the nft worker."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

from drivers.kernel.errors import KernelError
from drivers.kernel.nft_worker import ANSWER, BEGUN, REQUEST

_ERRORS = {os.strerror(number): number for number in errno.errorcode}


class NftWorker:
    """Runs nft scripts in a process of their own; safe to use from several threads.

    The worker is started at once, and again when it has died. That is no fork of ours, with the
    locks of other threads in whatever state: the child runs no Python between vfork and exec.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def pid(self) -> int:
        """The worker's process id; 0 once closed."""
        return self._process.pid if self._process else 0

    def run(self, script: str, netns: Path | None = None, asked: str = "run an nft script") -> str:
        """Apply a script as one transaction and return its output.

        Args:
            netns: None is the namespace the worker was started in.
            asked: What it does, in words that fit before a colon and the reason of a refusal.

        Raises:
            KernelError: Nothing was changed; says why. Or the worker died
                meanwhile: then it is unknown whether the kernel took the script.
        """
        with self._lock:
            if self._died():
                self._start()
            try:
                try:
                    self._hand_over(script, netns)
                except (ConnectionError, EOFError):  # it died without having begun
                    self._start()
                    self._hand_over(script, netns)
                failed, text = self._answer()
            except (ConnectionError, EOFError) as error:
                raise KernelError(errno.EPIPE, asked, "the nft worker died over it") from error
        if failed:
            raise _refusal(asked, text)
        return text

    def list_table(self, table: str, netns: Path | None = None) -> str:
        """The table ("inet NAME") in nft's own notation; "" when there is none."""
        try:
            return self.run(f"list table {table}\n", netns)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return ""
            raise

    def close(self) -> None:
        """End the worker. A script that is running is finished first."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        self._end()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # Without site: where its libraries are, our own path tells it.
                [sys.executable, "-S", "-P", "-m", "drivers.kernel.nft_worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def _end(self) -> None:
        if self._process is None:
            return
        self._socket.close()  # the worker lives as long as this
        self._process.wait()
        self._process = None

    def _died(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return True
        # It never speaks unasked, so anything to read now is its end. select() would fail at
        # descriptor 1024, in us as in libnftables.
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def _hand_over(self, script: str, netns: Path | None) -> None:
        encoded = script.encode()
        descriptors = [] if netns is None else [_open(netns)]
        try:
            socket.send_fds(self._socket, [REQUEST.pack(len(encoded))], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._socket.sendall(encoded)
        self._receive(len(BEGUN))

    def _answer(self) -> tuple[bool, str]:
        failed, length = ANSWER.unpack(self._receive(ANSWER.size))
        return bool(failed), self._receive(length).decode()

    def _receive(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = self._socket.recv(length - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def _open(netns: Path) -> int:
    try:
        return os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or errno.ENOENT, f"open the network namespace {netns}") from error


def _refusal(asked: str, complaint: str) -> KernelError:
    """Read "Error: REASON"; the line that nft shows below it is always the script's first, so not worth telling."""
    first = next(iter(complaint.strip().splitlines()), "unknown error")
    sentence = first.removeprefix("Error: ").removeprefix("Could not process rule: ")
    number = next((number for words, number in _ERRORS.items() if sentence.endswith(words)), errno.EINVAL)
    return KernelError(number, asked, sentence)
