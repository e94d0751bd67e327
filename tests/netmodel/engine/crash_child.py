"""Does something to a topology in a process that kills itself at the Nth step outside Python.

A step is one request to the kernel, to the firewall's worker or to the spawner, or one commit. Usage:
crash_child.py ROOT TOPOLOGY up|down|connect|disconnect N. N = 0 runs to the end and prints how many steps
there were. connect and disconnect are of the first web container and the network extra.
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
_FINER: list[tuple[type, str]] = [(Netlink, "attempt"), (Netlink, "get")]


class Fuse:
    """Counts steps once it is lit, and kills the process at the chosen one."""

    def __init__(self, at: int) -> None:
        self.at, self.lit, self.count = at, False, 0
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
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, step)


def main() -> None:
    root, topology, verb, at = sys.argv[1:]
    fuse = Fuse(int(at))
    for owner, name in _STEPS + (_FINER if verb in ("connect", "disconnect") else []):
        fuse.wrap(owner, name)
    engine = Engine(Path(root))
    engine.open()
    project = load(Path(topology), {}).project
    attachment = (f"{project.name}_extra", f"{project.name}-web-1")
    if verb != "up":
        engine.up(project)
    if verb == "disconnect":
        engine.connect(*attachment)
    acts: dict[str, Callable[[], object]] = {
        "up": lambda: engine.up(project),
        "down": lambda: engine.down(project.name, volumes=True),
        "connect": lambda: engine.connect(*attachment),
        "disconnect": lambda: engine.disconnect(*attachment),
    }
    fuse.lit = True
    acts[verb]()
    fuse.lit = False
    print(fuse.count)
    if verb != "down":
        engine.down(project.name, volumes=True)
    engine.close()


main()
