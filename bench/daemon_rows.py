"""What is measured of an engine that speaks Docker's API; dockerd and netmodel get the same treatment."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter

from bench import machine
from bench.docker_api import DockerApi, Refused
from bench.engine import Engine
from bench.measure import Clock

PORTS = list(range(20000, 20200, 2))  # no range that a peer could make one rule of


def measure_api(api: DockerApi, image: str, clock: Clock, repetitions: int) -> None:
    """Everything that goes over the socket."""
    with clock.guarded("run"):
        _warm_up(api, image)
        for index in range(repetitions):
            with clock.time("run"):
                container = api.run(f"run{index}", image)
            with clock.time("rm -f"):
                api.remove(container)
    with clock.guarded("exec"):
        _measure_exec(api, image, clock, repetitions)
    with clock.guarded("network create", "network rm"):
        for index in range(repetitions):
            with clock.time("network create"):
                network = api.create_network(f"net{index}")
            with clock.time("network rm"):
                api.remove_network(network)
    with clock.guarded("connect", "disconnect"):
        _measure_connect(api, image, clock, repetitions)
    with clock.guarded("publish 100 ports", "remove them"):
        _measure_ports(api, image, clock, max(1, repetitions // 4))


def measure_memory(engine: Engine, clock: Clock, containers: int) -> None:
    """Memory of the engine's own processes, for each container that runs.

    To be called first: an engine that has had many containers finds room for new ones in what it has.
    """
    with clock.guarded("memory"):
        _warm_up(engine.api, engine.image)
        before = machine.memory_mb(engine.processes())
        made = [engine.api.run(f"mem{index}", engine.image) for index in range(containers)]
        try:
            clock.add("memory", (machine.memory_mb(engine.processes()) - before) / containers)
        finally:
            for container in made:
                engine.api.remove(container)


def measure_cli(clock: Clock, cli: Sequence[str], image: str, api: DockerApi, repetitions: int) -> None:
    """The same for people: process start, parsing and printing included."""
    with clock.guarded("run, command line", "exec, command line"):
        for index in range(repetitions):
            began = perf_counter()
            container = command(*cli, "run", "-d", "--name", f"cli{index}", image, "/bin/sleep", "100000").strip()
            clock.add("run, command line", (perf_counter() - began) * 1000)
            with clock.time("exec, command line"):
                command(*cli, "exec", container, "/bin/true")
            api.remove(container)
    with clock.guarded("network ls, command line"):
        for _ in range(repetitions):
            with clock.time("network ls, command line"):
                command(*cli, "network", "ls")


def command(*argv: str) -> str:
    """Run a program and return its output.

    Raises:
        Refused: It failed; says what it said.
    """
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise Refused(f"{' '.join(argv[:1] + argv[-4:])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _warm_up(api: DockerApi, image: str) -> None:
    api.remove(api.run("warmup", image))


def _measure_exec(api: DockerApi, image: str, clock: Clock, repetitions: int) -> None:
    container = api.run("execs", image)
    try:
        for _ in range(repetitions):
            with clock.time("exec"):
                api.exec_true(container)
    finally:
        api.remove(container)


def _measure_connect(api: DockerApi, image: str, clock: Clock, repetitions: int) -> None:
    network = api.create_network("second")
    container = api.run("connects", image)
    try:
        for _ in range(repetitions):
            with clock.time("connect"):
                api.connect(network, container)
            with clock.time("disconnect"):
                api.disconnect(network, container)
    finally:
        api.remove(container)
        with suppress(Refused):
            api.remove_network(network)


def _measure_ports(api: DockerApi, image: str, clock: Clock, repetitions: int) -> None:
    """What 100 published ports add to starting and removing a container."""
    for index in range(repetitions):
        plain_up, plain_down = _up_down(api, image, f"plain{index}", ())
        ports_up, ports_down = _up_down(api, image, f"ports{index}", PORTS)
        clock.add("publish 100 ports", (ports_up - plain_up) * 1000)
        clock.add("remove them", (ports_down - plain_down) * 1000)


def _up_down(api: DockerApi, image: str, name: str, ports: Sequence[int]) -> tuple[float, float]:
    began = perf_counter()
    container = api.run(name, image, ports)
    running = perf_counter()
    api.remove(container)
    return running - began, perf_counter() - running
