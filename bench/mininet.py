"""Mininet from Debian: hosts on one Linux bridge. Of a container it has the network namespace only."""

from __future__ import annotations

import json
import subprocess

from bench import machine
from bench.measure import Clock

PYTHON = "/usr/bin/python3"  # Debian's own, where its package is

# Its init() raises host-wide sysctls, which are the machine's business; so it is told that was done.
SCRIPT = """
import json, sys, time
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
Mininet.inited = True
count = int(sys.argv[1])
began = time.perf_counter()
net = Mininet(topo=SingleSwitchTopo(count), switch=LinuxBridge, controller=None)
net.start()
up = time.perf_counter()
net.stop()
print(json.dumps({"up": up - began, "down": time.perf_counter() - up}))
"""


def measure(clock: Clock, sizes: list[int]) -> None:
    """Bring topologies up and down.

    Raises:
        Unavailable: It is not installed.
    """
    machine.need("mininet")
    machine.need("brctl")
    for size in sizes:
        with clock.guarded(f"{size} nodes up, a node", f"{size} nodes down, a node"):
            took = _run(size)
            clock.add(f"{size} nodes up, a node", took["up"] * 1000 / size)
            clock.add(f"{size} nodes down, a node", took["down"] * 1000 / size)


def _run(size: int) -> dict[str, float]:
    done = subprocess.run([PYTHON, "-c", SCRIPT, str(size)], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise machine.Unavailable(done.stderr.strip().splitlines()[-1] if done.stderr else "it failed")
    took: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return took
