"""Kills the process it is in before the Nth step outside Python, as a crash at that moment would.

A step is one request to the kernel, to the firewall's worker or to the spawner, or one commit.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from netmodel.store.sqlite import SqliteStore
from runtime.client import Spawner

STEPS: list[tuple[type, str]] = [
    (Netlink, "apply"),
    (Netlink, "transact"),
    (NftWorker, "run"),
    (Spawner, "_ask"),
    (SqliteStore, "write"),
]
FINER: list[tuple[type, str]] = [(Netlink, "attempt"), (Netlink, "get")]


class Fuse:
    """Counts steps while it is lit.

    Args:
        at: The step before which it kills; 0 is none.
    """

    def __init__(self, at: int = 0) -> None:
        self.at, self.lit, self.finer, self.count = at, False, True, 0
        self._lock = threading.Lock()

    def wrap(self, owner: type, name: str, finer: bool = False) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            if not self.lit or (finer and not self.finer):
                return original(*args, **kwargs)
            with self._lock:
                self.count += 1
                now = self.count == self.at
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, step)
