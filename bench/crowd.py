"""Many containers on four networks, started one by one and by many callers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local

from bench.docker_api import DockerApi
from bench.measure import Clock

ONE_BY_ONE, AT_ONCE = "start, one by one", "start, 16 at a time"
CALLERS = 16
NETWORKS = 4


def measure_crowd(path: Path, image: str, clock: Clock, size: int) -> None:
    """Milliseconds a container, from the first request to the last answer.

    Args:
        path: The engine's socket; each caller has a connection of its own.
    """
    with clock.guarded(ONE_BY_ONE, AT_ONCE):
        api = DockerApi(path)
        networks = [api.create_network(f"crowd{number}") for number in range(NETWORKS)]
        try:
            for row, callers in ((ONE_BY_ONE, 1), (AT_ONCE, CALLERS)):
                _measure(path, image, clock, size, row, callers)
        finally:
            for network in networks:
                api.remove_network(network)


def _measure(path: Path, image: str, clock: Clock, size: int, row: str, callers: int) -> None:
    own = local()

    def api() -> DockerApi:
        if not hasattr(own, "api"):
            own.api = DockerApi(path)
        found: DockerApi = own.api
        return found

    def start(number: int) -> str:
        body = {
            "Image": image,
            "Cmd": ["/bin/sleep", "100000"],
            "HostConfig": {"NetworkMode": f"crowd{number % NETWORKS}"},
        }
        container: str = api().ask("POST", f"/containers/create?name=one{number}", body)["Id"]
        api().ask("POST", f"/containers/{container}/start")
        return container

    with ThreadPoolExecutor(callers) as pool:
        with clock.time(row, per=size):
            made = list(pool.map(start, range(size)))
        list(pool.map(lambda container: api().remove(container), made))
