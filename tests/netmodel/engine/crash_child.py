"""Does something to a topology in a process that kills itself at the Nth step outside Python.

What a step is tells fuse.py. Usage:
crash_child.py ROOT TOPOLOGY up|down|connect|disconnect N. N = 0 runs to the end and prints how many steps
there were. connect and disconnect are of the first web container and the network extra.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from netmodel.engine.engine import Engine
from netmodel.topology import load
from tests.netmodel.engine.fuse import FINER, STEPS, Fuse


def main() -> None:
    root, topology, verb, at = sys.argv[1:]
    fuse = Fuse(int(at))
    for owner, name in STEPS + (FINER if verb in ("connect", "disconnect") else []):
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
