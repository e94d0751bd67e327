"""Many containers on four networks, started one by one and by many callers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import local
from time import perf_counter

from bench.docker_api import DockerApi
from bench.engine import Engine
from bench.measure import Clock

ONE_BY_ONE, AT_ONCE = "start, one by one", "start, 16 at a time"
AGAINST = "start, 16 at a time, time"
CALLERS = 16
NETWORKS = 4


def measure_crowd(engine: Engine, clock: Clock, size: int) -> None:
    """Milliseconds a container, from the first request to the last answer; each caller has a connection of its own."""
    with clock.guarded(ONE_BY_ONE, AT_ONCE, AGAINST):
        networks = [engine.api.create_network(f"crowd{number}") for number in range(NETWORKS)]
        try:
            took = {callers: _measure(engine, size, callers) for callers in (1, CALLERS)}
        finally:
            for network in networks:
                engine.api.remove_network(network)
        clock.add(ONE_BY_ONE, took[1])
        clock.add(AT_ONCE, took[CALLERS])
        clock.add(AGAINST, took[CALLERS] / took[1])


def _measure(engine: Engine, size: int, callers: int) -> float:
    own = local()

    def api() -> DockerApi:
        if not hasattr(own, "api"):
            own.api = DockerApi(engine.socket)
        found: DockerApi = own.api
        return found

    def start(number: int) -> str:
        return api().run(f"one{number}", engine.image, NetworkMode=f"crowd{number % NETWORKS}")

    with ThreadPoolExecutor(callers) as pool:
        began = perf_counter()
        made = list(pool.map(start, range(size)))
        took = perf_counter() - began
        list(pool.map(lambda container: api().remove(container), made))
    return took * 1000 / size
