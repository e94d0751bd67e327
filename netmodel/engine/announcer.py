"""Announcing addresses to the neighbours beside the launch: it takes seconds, and closing its socket a grace period."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from drivers.kernel.announce import announce
from netmodel.engine.link_options import Announcements
from netmodel.model import Endpoint


@dataclass(order=True)
class _Turn:
    """What is sent next for one endpoint."""

    due: float
    netns: Path = field(compare=False)
    endpoint: Endpoint = field(compare=False)
    still_there: Callable[[], bool] = field(compare=False)
    times: int = field(compare=False)
    interval_s: float = field(compare=False)


class Announcer:
    """One thread that sends gratuitous ARP and unsolicited neighbour advertisements out of sandboxes.

    Between two turns it has nothing open: a socket would keep alive a namespace whose container was removed.
    """

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        self._turns: list[_Turn] = []
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, netns: Path, endpoint: Endpoint, wish: Announcements, still_there: Callable[[], bool]) -> None:
        """Announce an endpoint soon, and again as often as is wished; its link carries frames.

        Args:
            still_there: Asked before each turn: the path may lead to another namespace later.
        """
        if wish.times:
            turn = _Turn(time.monotonic(), netns, endpoint, still_there, wish.times, wish.interval_s)
            self._news.put(turn)

    def close(self) -> None:
        """End at once, whatever is still to be told."""
        self._news.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            wait_s = max(self._turns[0].due - time.monotonic(), 0) if self._turns else None
            with suppress(queue.Empty):
                news = self._news.get(timeout=wait_s)
                if news is None:
                    return
                heapq.heappush(self._turns, news)
            while self._turns and self._turns[0].due <= time.monotonic():
                self._take(heapq.heappop(self._turns))

    def _take(self, turn: _Turn) -> None:
        if not turn.still_there():
            return
        with suppress(Exception):  # it left the network just now
            announce(turn.netns, turn.endpoint.interface, turn.endpoint.addresses)
            turn.times -= 1
            turn.due += turn.interval_s
            if turn.times:
                heapq.heappush(self._turns, turn)
