"""Announcing addresses to the neighbours beside the launch: closing the socket for it waits for a grace period."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from pathlib import Path

from drivers.kernel.announce import announce
from netmodel.model import Endpoint


class Announcer:
    """One thread that sends gratuitous ARP and unsolicited neighbour advertisements out of sandboxes."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Path, Endpoint] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, netns: Path, endpoint: Endpoint) -> None:
        """Announce an endpoint soon; its link carries frames."""
        self._waiting.put((netns, endpoint))

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (found := self._waiting.get()) is not None:
            netns, endpoint = found
            # A sandbox that has ended meanwhile has nothing to announce.
            with suppress(Exception):
                announce(netns, endpoint.interface, endpoint.addresses)
