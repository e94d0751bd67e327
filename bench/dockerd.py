"""dockerd from Debian, with a private socket, data root and containerd."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine
from bench.crowd import measure_crowd
from bench.daemon_rows import command, measure_api, measure_cli, measure_memory
from bench.dns import measure_dns
from bench.docker_api import DockerApi
from bench.engine import Engine
from bench.measure import Clock
from bench.standing import measure_standing
from bench.traffic import measure_traffic
from drivers.kernel.namespace import open_in

COLUMN = "dockerd"


def measure(directory: Path, clock: Clock, repetitions: int) -> None:
    """Start it, measure it, and stop it whatever happens.

    Raises:
        Unavailable: It is not installed or does not start here.
    """
    with running(directory, "dockerd") as engine:
        api, image = engine.api, engine.image
        measure_memory(engine, clock, 10)
        measure_api(api, image, clock, repetitions)
        measure_dns(engine, clock, repetitions)
        measure_crowd(engine, clock, 200 if repetitions >= 10 else 10)
        measure_traffic(api, image, clock, max(3, repetitions // 2))
        measure_cli(clock, engine.cli, image, api, max(3, repetitions // 3))
    full = repetitions >= 10
    with running(directory, "standing-dockerd") as engine:
        measure_standing(engine, clock, max(3, repetitions // 4), 1_000 if full else 100, 60 if full else 4)


@contextmanager
def running(directory: Path, name: str, netns: Path | None = None, *options: str) -> Iterator[Engine]:
    """A daemon with everything of its own, stopped whatever happens.

    Args:
        name: Of its directory; no other's may begin with it.
        netns: Where it lives; ours without.

    Raises:
        Unavailable: It is not installed or does not start here.
    """
    program = machine.need("dockerd")
    machine.need("runc")
    home = directory / name
    home.mkdir()
    socket = home / "s"
    group = f"nmbench{os.getpid()}{name}"
    try:
        api = _start(program, home, netns, group, options)
        cli = ("docker", "-H", f"unix://{socket}")
        command(*cli, "import", str(directory / "image.tar"), "bench")
        yield Engine(
            column=COLUMN,
            api=api,
            socket=socket,
            image="bench",
            cli=cli,
            # With containerd, and a shim for each container.
            parts=lambda: {"dockerd": machine.processes(str(home))},
        )
    finally:
        # Not asked to stop: it would first withdraw, at 50 ms each, thousands of ports.
        machine.end_all(str(home), signal.SIGKILL)
        machine.remove_cgroups(group)


def _start(program: str, home: Path, netns: Path | None, group: str, options: tuple[str, ...]) -> DockerApi:
    (home / "config.json").write_text("{}")  # not the machine's own
    argv = [
        program,
        *("--config-file", str(home / "config.json"), "--host", f"unix://{home}/s"),
        *("--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "--pidfile", str(home / "pid")),
        *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{group}", *options),
    ]
    with (home / "log").open("w") as log:
        started = open_in(netns, lambda: subprocess.Popen(argv, stdout=log, stderr=log))
    api = DockerApi(home / "s")
    machine.until(lambda: api.answers() or started.poll() is not None, 30, "dockerd does not answer")
    if started.poll() is not None:
        last = (home / "log").read_text().strip().splitlines()[-1:]
        raise machine.Unavailable(f"dockerd does not start: {' '.join(last)[-200:]}")
    return api
