"""Brings a topology up (or down) in a process that kills itself at the Nth step outside Python.

A step is one request to the kernel, to the firewall's worker or to the spawner, or one commit. Usage:
crash_child.py ROOT TOPOLOGY up|down N before|after. N = 0 runs to the end and prints how many steps there were.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from netmodel.engine.engine import Engine
from netmodel.store.sqlite import SqliteStore
from netmodel.topology import load
from runtime.client import Spawner

_STEPS = [(Netlink, "apply"), (NftWorker, "run"), (Spawner, "_ask"), (SqliteStore, "write")]


class Fuse:
    """Counts steps once it is lit, and kills the process at the chosen one."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after, self.lit, self.count = at, after, False, 0
        self._lock = threading.Lock()

    def wrap(self, owner: type, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(original)
        def step(*args: Any, **kwargs: Any) -> Any:
            if not self.lit:
                return original(*args, **kwargs)
            with self._lock:
                self.count += 1
                now = self.count == self.at
            if now and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, step)


def main() -> None:
    root, topology, verb, at, moment = sys.argv[1:]
    fuse = Fuse(int(at), moment == "after")
    for owner, name in _STEPS:
        fuse.wrap(owner, name)
    engine = Engine(Path(root))
    engine.open()
    project = load(Path(topology), {}).project
    if verb == "down":
        engine.up(project)
    fuse.lit = True
    engine.up(project) if verb == "up" else engine.down(project.name, volumes=True)
    fuse.lit = False
    print(fuse.count)
    if verb == "up":
        engine.down(project.name, volumes=True)
    engine.close()


main()
