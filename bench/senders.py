"""A server and a client of ours, in processes that enter the namespaces they work in."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter

from bench.docker_api import DockerApi, Refused
from bench.plain import Route
from drivers.kernel.namespace import enter

PORT = 7_000

_BUFFER = 1 << 20
_NO_LINGER = struct.pack("ii", 1, 0)  # closing resets: no port is left in TIME_WAIT for a minute
_SETTLED_S = 5.0


@dataclass(frozen=True, slots=True)
class Connections:
    """How new connections went, one after another; until the first byte, in microseconds.

    Args:
        rate: How many a second, by the median time of one from its first packet to its last: what other programs
            of the machine take in between does not count.
    """

    rate: float
    median_us: float
    p99_us: float


def netns_of(api: DockerApi, container: str) -> Path:
    return Path(f"/proc/{api.ask('GET', f'/containers/{container}/json')['State']['Pid']}/ns/net")


def bytes_a_second(route: Route, seconds: float) -> float:
    """Send as much as goes through, from the client to the server, each on a processor of its own if there are two."""

    def serve(listener: socket.socket) -> list[float]:
        _stay_on(max)
        connection, _ = listener.accept()
        buffer, received, began = bytearray(_BUFFER), 0, perf_counter()
        while count := connection.recv_into(buffer):
            received += count
        return [received / (perf_counter() - began)]

    def send() -> list[float]:
        _stay_on(min)
        data = memoryview(bytes(_BUFFER))
        with _connected(route.address) as connection:
            end = monotonic() + seconds
            while monotonic() < end:
                connection.sendall(data)
        return []

    with _server(route.server, serve) as server, _process(route.client, send) as client:
        _result(client)
        return _result(server)[0]


@contextmanager
def connecting(route: Route) -> Iterator[Callable[[float], Connections]]:
    """A client and a server that stay: each call is so many seconds of connecting, reading one byte and hanging up.

    Both are on one processor: which one the kernel wakes, and out of which sleep, is most of the noise otherwise.
    """
    ours, theirs = Pipe()

    def serve(listener: socket.socket) -> list[float]:
        _stay_on(min)
        while True:
            connection, _ = listener.accept()
            connection.send(b"x")
            connection.close()

    def connect() -> list[float]:
        _stay_on(min)
        while True:
            seconds = theirs.recv()
            try:
                theirs.send(_connect_for(route.address, seconds))
            except OSError as error:
                theirs.send(repr(error))

    def ask(seconds: float) -> Connections:
        ours.send(seconds)
        said = ours.recv()
        if isinstance(said, str):
            raise Refused(f"no traffic: {said}")
        return Connections(*said)

    with _server(route.server, serve), _process(route.client, connect):
        yield ask


def _connect_for(address: str, seconds: float) -> tuple[float, float, float]:
    _connected(address).close()  # neighbours and routes are known from here on
    until_byte, until_end = [], []
    deadline = perf_counter() + seconds
    while (began := perf_counter()) < deadline:
        connection = _connected(address)
        if connection.recv(1) != b"x":
            raise ConnectionError("the server hung up")
        until_byte.append((perf_counter() - began) * 1e6)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        connection.close()
        until_end.append(perf_counter() - began)
    return 1 / median(until_end), median(until_byte), quantiles(until_byte, n=100)[98]


def _stay_on(which: Callable[[Iterable[int]], int]) -> None:
    """On one processor of those allowed."""
    os.sched_setaffinity(0, {which(os.sched_getaffinity(0))})


def _connected(address: str) -> socket.socket:
    return socket.create_connection((address, PORT), _SETTLED_S)


@contextmanager
def _server(netns: Path, serve: Callable[[socket.socket], list[float]]) -> Iterator[int]:
    """A server that listens already; its result can be read from the descriptor."""
    ready, tell = os.pipe()

    def listen() -> list[float]:
        listener = socket.create_server(("0.0.0.0", PORT), backlog=512)
        os.write(tell, b"x")
        return serve(listener)

    with _process(netns, listen) as result:
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        yield result


@contextmanager
def _process(netns: Path, work: Callable[[], list[float]]) -> Iterator[int]:
    """A process of ours in a namespace; what the work returns can be read from the descriptor."""
    result, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter(netns)
            os.write(tell, json.dumps(work()).encode())
        except Exception as error:
            os.write(tell, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(tell)
    try:
        yield result
    finally:
        os.close(result)
        os.kill(pid, signal.SIGKILL)  # a child of ours, not waited for yet: nobody else has its id
        os.waitpid(pid, 0)


def _result(descriptor: int) -> list[float]:
    said = json.loads(os.read(descriptor, 4096) or '"it ended"')
    if isinstance(said, str):
        raise Refused(f"no traffic: {said}")
    return [float(value) for value in said]
