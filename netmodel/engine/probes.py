"""One run of a health check's program: its exit code and the beginning of what it prints."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress

from runtime.client import ExecFds, ExecHandle, Spawner
from runtime.spec import Process

_KEPT_BYTES = 4096
_PIECE = 65536


def run_probe(spawner: Spawner, container_id: str, process: Process, timeout_s: float) -> tuple[int, str]:
    """Run it, and end it when it takes too long: -1 then.

    Raises:
        RuntimeFault: It cannot be run.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    ended = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        try:
            handle = spawner.exec(container_id, process, ExecFds(null, write, write))
        finally:
            os.close(write)
            os.close(null)
        told = os.dup(ended)  # the callback may come when we have long gone
        handle.ended.add_done_callback(lambda _: _tell(told))
        return _outcome(handle, read, ended, timeout_s)
    finally:
        os.close(read)
        os.close(ended)


def _tell(told: int) -> None:
    os.eventfd_write(told, 1)
    os.close(told)


def _outcome(handle: ExecHandle, read: int, ended: int, timeout_s: float) -> tuple[int, str]:
    os.set_blocking(read, False)
    output = bytearray()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    poll.register(ended, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            _kill(handle)
            return -1, f"the health check took longer than {timeout_s:g} s"
        ready = dict(poll.poll(left_s * 1000))
        if read in ready and not _take(read, output):
            poll.unregister(read)
        if ended in ready:
            # What it started may hold the pipe open for ever; what it printed itself is there by now.
            while _take(read, output):
                pass
            return handle.wait(), output.decode(errors="replace")


def _take(read: int, output: bytearray) -> bool:
    """Read what is there; False when nothing is, or nothing will be."""
    try:
        data = os.read(read, _PIECE)
    except BlockingIOError:
        return False
    output += data[: _KEPT_BYTES - len(output)]
    return bool(data)


def _kill(handle: ExecHandle) -> None:
    """Every program in a container leads a session, so what it started goes with it."""
    if not handle.ended.done():
        with suppress(ProcessLookupError):
            os.killpg(handle.pid, signal.SIGKILL)
