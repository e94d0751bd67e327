"""dockerd from Debian, with a private socket, data root and containerd."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from bench import machine
from bench.crowd import measure_crowd
from bench.daemon_rows import command, measure_api, measure_cli, measure_memory
from bench.dns import measure_dns
from bench.docker_api import DockerApi
from bench.measure import Clock
from bench.traffic import measure_traffic

GROUP = f"nmbench{os.getpid()}"


def measure(directory: Path, clock: Clock, repetitions: int) -> None:
    """Start it, measure it, and stop it whatever happens.

    Raises:
        Unavailable: It is not installed or does not start here.
    """
    program = machine.need("dockerd")
    machine.need("runc")
    home = directory / "dockerd"
    home.mkdir()
    socket = home / "s"
    try:
        api = _start(program, home, socket)
        cli = (_client(), "-H", f"unix://{socket}")
        image = directory / "image.tar"
        command(*cli, "import", str(image), "bench")
        measure_memory(api, "bench", clock, 10, lambda: _memory(home))
        measure_api(api, "bench", clock, repetitions)
        measure_dns(api, "bench", clock, repetitions)
        measure_crowd(socket, "bench", clock, 20)
        # Not 10,000: at some 40 ms a port that would be a quarter of an hour.
        measure_traffic(api, "bench", clock, max(3, repetitions // 2), (1, 100))
        measure_cli(clock, cli, "bench", api, max(3, repetitions // 3))
    finally:
        with suppress(OSError, ValueError):
            os.kill(int((home / "pid").read_text()), 15)
        machine.end_all(str(home))
        machine.remove_cgroups(GROUP)


def _start(program: str, home: Path, socket: Path) -> DockerApi:
    (home / "config.json").write_text("{}")  # not the machine's own
    log = (home / "log").open("w")
    started = subprocess.Popen(
        [
            program,
            *("--config-file", str(home / "config.json"), "--host", f"unix://{socket}"),
            *("--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "--pidfile", str(home / "pid")),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", f"/{GROUP}"),
        ],
        stdout=log,
        stderr=log,
    )
    api = DockerApi(socket)
    try:
        machine.until(lambda: api.answers() or started.poll() is not None, 30, "dockerd does not answer")
    finally:
        log.close()
    if started.poll() is not None:
        last = (home / "log").read_text().strip().splitlines()[-1:]
        raise machine.Unavailable(f"dockerd does not start: {' '.join(last)[-200:]}")
    return api


def _client() -> str:
    return "docker"


def _memory(home: Path) -> float:
    """dockerd, containerd and a shim for each container."""
    return machine.memory_mb(machine.processes(str(home)))
