"""What a user namespace and a system call filter cost at the start, turn by turn in all engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bench.docker_api import DockerApi
from bench.measure import Clock

# Whether it has a user namespace, and whether a filter.
VARIANTS = {
    "run, user namespace and seccomp": (True, True),
    "run, user namespace only": (True, False),
    "run, seccomp only": (False, True),
    "run, neither": (False, False),
}


class Runner(Protocol):
    """Starts containers of one engine; it may know only some of the variants."""

    def can(self, userns: bool) -> bool: ...

    def run(self, name: str, userns: bool, seccomp: bool) -> str: ...

    def remove(self, container: str) -> None: ...


class ApiRunner:
    """Args:
    userns: Whether containers have one unless they opt out; dockerd's never have, without userns-remap for all.
    """

    def __init__(self, api: DockerApi, image: str, userns: bool) -> None:
        self._api = api
        self._image = image
        self._userns = userns

    def can(self, userns: bool) -> bool:
        return self._userns or not userns

    def run(self, name: str, userns: bool, seccomp: bool) -> str:
        options = [] if seccomp else ["seccomp=unconfined"]
        return self._api.run(name, self._image, UsernsMode="" if userns else "host", SecurityOpt=options)

    def remove(self, container: str) -> None:
        self._api.remove(container)


def measure_variants(runners: Mapping[str, Runner], clocks: Mapping[str, Clock], rounds: int) -> None:
    """Milliseconds until it runs. The first of each is not counted: it warms up."""
    for turn in range(rounds + 1):
        for row, (userns, seccomp) in VARIANTS.items():
            for column, runner in runners.items():
                if not runner.can(userns):
                    continue
                clock = clocks[column] if turn else Clock()
                with clocks[column].guarded(row):
                    with clock.time(row):
                        container = runner.run(f"variant{turn}", userns, seccomp)
                    runner.remove(container)
