"""Who is attached to a container: pipes that get what it prints, byte for byte, the moment it does.

The log is another matter: it keeps lines, and may be cut or not kept at all.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Collection

from runtime.frame import frame
from runtime.spawner.loop import Loop


class Audience:
    """The listeners of one life of a container; they may come before it begins.

    Args:
        emptied: Called when the last one has left.
    """

    def __init__(self, loop: Loop, emptied: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._emptied = emptied
        self._listeners: list[_Listener] = []
        self._waiting: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """Somebody reads slower than the container prints."""
        return any(one.behind for one in self._listeners)

    def join(self, fd: int, streams: Collection[str], framed: bool) -> None:
        """Let a pipe have what comes from now on.

        Args:
            fd: Its write end, taken over.
            framed: Each piece says which stream it is of.
        """
        self._listeners.append(_Listener(self._loop, fd, frozenset(streams), framed, self._changed))

    def tell(self, stream: str, data: bytes) -> None:
        for one in tuple(self._listeners):
            one.tell(stream, data)

    def at_room(self, callback: Callable[[], None]) -> None:
        """Call back, once, when nobody is behind any more."""
        self._waiting.append(callback)

    def close(self) -> None:
        """There will be no more; who is behind still gets the rest."""
        self._waiting.clear()
        for one in tuple(self._listeners):
            one.finish()

    def _changed(self, one: _Listener) -> None:
        """It has caught up, or is gone."""
        if one.gone:
            self._listeners.remove(one)
            if not self._listeners:
                self._emptied()
        if not self.full:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()


class _Listener:
    """One pipe, and what did not fit into it yet."""

    def __init__(
        self, loop: Loop, fd: int, streams: frozenset[str], framed: bool, changed: Callable[[_Listener], None]
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._streams = streams
        self._framed = framed
        self._changed = changed
        self._rest = bytearray()
        self._over = False
        self.gone = False
        os.set_blocking(fd, False)
        # A pipe's write end is told of when its reader is gone.
        loop.watch(fd, self._look)

    @property
    def behind(self) -> bool:
        return bool(self._rest)

    def tell(self, stream: str, data: bytes) -> None:
        if stream not in self._streams or self.gone:
            return
        before = self.behind
        self._rest += frame(stream, data) if self._framed else data
        if not before:
            self._flush()

    def finish(self) -> None:
        self._over = True
        if not self.behind and not self.gone:
            self._leave()

    def _flush(self) -> None:
        try:
            while self._rest:
                del self._rest[: os.write(self._fd, self._rest)]
        except BlockingIOError:
            self._loop.watch(self._fd, self._catch_up, writable=True)
        except OSError:
            self._leave()

    def _catch_up(self) -> None:
        self._flush()
        if self.gone or self._rest:
            return
        if self._over:
            self._leave()
            return
        self._loop.watch(self._fd, self._look)
        self._changed(self)

    def _look(self) -> None:
        poll = select.poll()
        poll.register(self._fd, 0)
        if poll.poll(0):  # POLLERR: nobody will read this
            self._leave()

    def _leave(self) -> None:
        self._rest.clear()
        self.gone = True
        self._loop.forget(self._fd)
        os.close(self._fd)
        self._changed(self)
