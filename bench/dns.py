"""How fast a container's own name server is: one name of its network, asked over and over from inside.

The asker keeps some questions under way, so that what counts is the server's time and not the way there
and back. The server has one processor, and the asker another where there are two.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter

from bench.engine import Engine
from bench.measure import Clock

ROW = "DNS answers, local names, one core"
QUESTIONS = 10_000
UNDER_WAY = 32
_CLONE_NEWNET = 0x40000000


def measure_dns(engine: Engine, clock: Clock, rounds: int) -> None:
    """Answers a second: the same question to every engine that answers at 127.0.0.11, on one processor."""
    api = engine.api
    with clock.guarded(ROW):
        network = api.create_network("names")
        container = api.run("asked", engine.image)
        try:
            api.connect(network, container)
            pid = api.ask("GET", f"/containers/{container}/json")["State"]["Pid"]
            with _asker(pid) as asker, _one_processor(engine):
                _ask(asker, 500)
                for _ in range(rounds):
                    began = perf_counter()
                    _ask(asker, QUESTIONS)
                    clock.add(ROW, QUESTIONS / (perf_counter() - began))
        finally:
            api.remove(container)
            api.remove_network(network)


@contextmanager
def _one_processor(engine: Engine) -> Iterator[None]:
    """The last one for all threads of the engine; the asker goes to the first, another where there are two."""
    usual = os.sched_getaffinity(0)
    _pin(engine.processes(), {max(usual)})
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
        _pin(engine.processes(), usual)


def _pin(pids: list[int], processors: set[int]) -> None:
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError):  # it has ended meanwhile
                os.sched_setaffinity(int(thread.name), processors)


def _asker(pid: int) -> socket.socket:
    """A socket in the container's network, opened by a thread that goes there and ends."""
    opened: list[socket.socket] = []

    def enter_and_open() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) == 0:
                opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        finally:
            os.close(namespace)

    thread = threading.Thread(target=enter_and_open)
    thread.start()
    thread.join()
    if not opened:
        raise OSError(f"cannot enter the network namespace of process {pid}")
    asker = opened[0]
    asker.connect(("127.0.0.11", 53))
    asker.settimeout(5)
    return asker


def _ask(asker: socket.socket, questions: int) -> None:
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\5asked\0\0\1\0\1"  # asked. A, recursion desired
    for _ in range(UNDER_WAY):
        asker.send(query)
    for number in range(questions):
        reply = asker.recv(512)
        if reply[3] & 0x0F or reply[6:8] == b"\0\0":
            raise OSError("the name was not found")
        if number + UNDER_WAY < questions:
            asker.send(query)
