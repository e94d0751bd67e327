"""An event loop over epoll: callbacks for descriptors, and one deadline."""

from __future__ import annotations

import select
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Loop:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._patient: set[int] = set()
        self._waiting: deque[int] = deque()
        self._deadline: tuple[float, Callable[[], None]] | None = None

    def watch(self, fd: int, callback: Callable[[], None], writable: bool = False, *, patient: bool = False) -> None:
        """Call back whenever fd can be read (or also written), or its other side is gone.

        Args:
            patient: All others come first, so that a flood here holds up nobody who asks for something.
        """
        events = select.EPOLLIN | (select.EPOLLOUT if writable else 0)
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback
        (self._patient.add if patient else self._patient.discard)(fd)

    def forget(self, fd: int) -> None:
        """Stop watching; before fd is closed, since a copy of it in a child would keep it watched."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._patient.discard(fd)
            # The number may soon be another's.
            with suppress(ValueError):
                self._waiting.remove(fd)

    def at(self, seconds: float | None, callback: Callable[[], None] | None = None) -> None:
        """Set the deadline, replacing the one before; None clears it."""
        if seconds is None or callback is None:
            self._deadline = None
        else:
            self._deadline = (time.monotonic() + seconds, callback)

    def run(self) -> None:
        """Run until a callback raises SystemExit."""
        while True:
            for fd, _events in self._epoll.poll(0 if self._waiting else self._wait_s(), 64):
                if fd not in self._patient:
                    self._call(fd)
                elif fd not in self._waiting:
                    self._waiting.append(fd)
            if self._waiting:  # one at a time, in turn, between looks at the others
                self._call(self._waiting.popleft())
            self._pass_deadline()

    def _call(self, fd: int) -> None:
        # One callback may have ended what the next event is about.
        callback = self._callbacks.get(fd)
        if callback is not None:
            self._guarded(callback)

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            # A mistake of ours about one container must not end all the others: it goes to the spawner's log.
            sys.excepthook(*sys.exc_info())

    def _wait_s(self) -> float:
        return -1 if self._deadline is None else max(0.0, self._deadline[0] - time.monotonic())

    def _pass_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline[0]:
            callback = self._deadline[1]
            self._deadline = None
            self._guarded(callback)
