"""What goes through a network: bytes a second, new connections a second, through a bridge and a published port.

Server and client are ours, in processes that enter the containers' namespaces. The machine's own speed
changes by more than what is looked for, so throughput is told as a share of a plain bridge's, each round
of the one right after a round of the other.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter

from bench.docker_api import DockerApi, Refused
from bench.measure import Clock
from bench.plain import Route, outside, plain
from drivers.kernel.namespace import enter

BRIDGE, PUBLISHED = "throughput, bridge", "throughput, published port"
FLAT = "connections, 10000 ports"
NETWORKS = "connections, many networks"
FIRST_PORT = 10_000  # of those that nobody connects to
PORT = 7_000

_BUFFER = 1 << 20
_NO_LINGER = struct.pack("ii", 1, 0)  # closing resets: no port is left in TIME_WAIT for a minute
_SETTLED_S = 5.0


def connections(ports: int) -> str:
    return f"new connections, {ports} port{'s' if ports > 1 else ''}"


def measure_traffic(api: DockerApi, image: str, clock: Clock, rounds: int, ports: tuple[int, ...]) -> None:
    """Measure an engine beside plain links.

    Args:
        ports: How many are published while new connections are counted, the first being 1.
    """
    seconds = 0.3 if rounds < 5 else 0.5
    with clock.guarded(BRIDGE, PUBLISHED, FLAT, *map(connections, ports)), outside(None, "10.97.0") as client:
        server, other = api.run("serves", image, [PORT]), api.run("asks", image)
        try:
            switched = Route(_netns(api, other), _netns(api, server), _address(api, server))
            published = Route(client, _netns(api, server), "10.97.0.1")
            with plain() as (plain_switched, plain_routed):
                for _ in range(rounds):
                    clock.add(BRIDGE, _share(switched, plain_switched, seconds))
                    clock.add(PUBLISHED, _share(published, plain_routed, seconds))
            _measure_connections(api, image, clock, rounds, ports, published, seconds)
        finally:
            for container in (server, other):
                api.remove(container)


def measure_networks(api: DockerApi, image: str, clock: Clock, rounds: int, count: int) -> None:
    """New connections with many networks, as a share of those with few before and after."""
    seconds = 0.3 if rounds < 5 else 0.5
    with clock.guarded(NETWORKS), outside(None, "10.97.0") as client:
        server = api.run("serves", image, [PORT])
        made: list[str] = []
        try:
            route = Route(client, _netns(api, server), "10.97.0.1")
            few = [new_connections(route, seconds) for _ in range(rounds)]
            made += [api.create_network(f"many{number}") for number in range(count)]
            many = [new_connections(route, seconds) for _ in range(rounds)]
            while made:
                api.remove_network(made.pop())
            few += [new_connections(route, seconds) for _ in range(rounds)]
            clock.add(NETWORKS, median(many) / median(few))
        finally:
            for network in made:
                api.remove_network(network)
            api.remove(server)


def _measure_connections(
    api: DockerApi, image: str, clock: Clock, rounds: int, ports: tuple[int, ...], route: Route, seconds: float
) -> None:
    rates: dict[int, list[float]] = {}
    for count in (*ports, 1):  # the first once more at the end, should the machine have become slower
        container = None
        if count > 1:
            container = api.run(f"publishes{count}", image, list(range(FIRST_PORT, FIRST_PORT + count - 1)))
        for _ in range(rounds):
            rate = new_connections(route, seconds)
            clock.add(connections(count), rate)
            rates.setdefault(count, []).append(rate)
        if container is not None:
            with suppress(Refused):
                api.remove(container)
    most = max(ports)
    if most >= 10_000:
        clock.add(FLAT, median(rates[most]) / median(rates[1]))


def _share(route: Route, of: Route, seconds: float) -> float:
    whole = bytes_a_second(of, seconds)
    return bytes_a_second(route, seconds) / whole


def _netns(api: DockerApi, container: str) -> Path:
    return Path(f"/proc/{api.ask('GET', f'/containers/{container}/json')['State']['Pid']}/ns/net")


def _address(api: DockerApi, container: str) -> str:
    networks = api.ask("GET", f"/containers/{container}/json")["NetworkSettings"]["Networks"]
    return str(networks["bridge"]["IPAddress"])


# --- the tool -----------------------------------------------------------------------------------------


def bytes_a_second(route: Route, seconds: float) -> float:
    """Send as much as goes through, from the client to the server."""

    def serve(listener: socket.socket) -> float:
        connection, _ = listener.accept()
        buffer, received, began = bytearray(_BUFFER), 0, perf_counter()
        while count := connection.recv_into(buffer):
            received += count
        return received / (perf_counter() - began)

    def send() -> float:
        data = memoryview(bytes(_BUFFER))
        with _connected(route.address) as connection:
            end = monotonic() + seconds
            while monotonic() < end:
                connection.sendall(data)
        return 0.0

    with _server(route.server, serve) as server, _process(route.client, send) as client:
        _result(client)
        return _result(server)


def new_connections(route: Route, seconds: float) -> float:
    """Connect and hang up, one after another."""

    def serve(listener: socket.socket) -> float:
        while True:
            listener.accept()[0].close()

    def connect() -> float:
        _connected(route.address).close()  # neighbours and routes are known from here on
        count, began = 0, perf_counter()
        while perf_counter() - began < seconds:
            connection = socket.create_connection((route.address, PORT), _SETTLED_S)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            connection.close()
            count += 1
        return count / (perf_counter() - began)

    with _server(route.server, serve), _process(route.client, connect) as client:
        return _result(client)


def _connected(address: str) -> socket.socket:
    return socket.create_connection((address, PORT), _SETTLED_S)


@contextmanager
def _server(netns: Path, serve: Callable[[socket.socket], float]) -> Iterator[int]:
    """A server that listens already; its result can be read from the descriptor."""
    ready, tell = os.pipe()

    def listen() -> float:
        listener = socket.create_server(("0.0.0.0", PORT), backlog=512)
        os.write(tell, b"x")
        return serve(listener)

    with _process(netns, listen) as result:
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)
        yield result


@contextmanager
def _process(netns: Path, work: Callable[[], float]) -> Iterator[int]:
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


def _result(descriptor: int) -> float:
    said = json.loads(os.read(descriptor, 4096) or '"it ended"')
    if isinstance(said, str):
        raise Refused(f"no traffic: {said}")
    return float(said)
