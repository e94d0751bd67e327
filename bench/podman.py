"""podman from Debian with runc: no daemon, so everything goes through its command line."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import machine
from bench.daemon_rows import PORTS, command
from bench.docker_api import Refused
from bench.measure import Clock

GROUP = f"nmbenchp{os.getpid()}"

# Debian's defaults ask for more open files than a machine without CAP_SYS_RESOURCE may give.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]
cgroup_parent = "{group}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""


def measure(directory: Path, clock: Clock, repetitions: int) -> None:
    """Measure it in storage of its own.

    Raises:
        Unavailable: It is not installed or does not run here.
    """
    with running(directory, "podman") as podman:
        _measure(podman, clock, repetitions)


@contextmanager
def running(directory: Path, name: str) -> Iterator[Podman]:
    """Storage and configuration of its own, and nothing left of its containers afterwards.

    Args:
        name: Of its directory; no other's may begin with it.

    Raises:
        Unavailable: It is not installed or does not run here.
    """
    program = machine.need("podman")
    machine.need("runc")
    home = directory / name
    home.mkdir()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (home / "containers.conf").write_text(CONFIGURATION.format(files=files, group=GROUP))
    os.environ["CONTAINERS_CONF"] = str(home / "containers.conf")
    podman = Podman(program, home)
    try:
        podman("import", str(directory / "image.tar"), "bench")
        yield podman
    finally:
        del os.environ["CONTAINERS_CONF"]
        with suppress(Refused):
            podman("rm", "-f", "-t", "0", "-a")
        machine.end_all(str(home))
        machine.remove_cgroups(GROUP)


class Podman:
    def __init__(self, program: str, home: Path) -> None:
        self.home = home
        self._argv = (
            program,
            *("--root", str(home / "root"), "--runroot", str(home / "run"), "--tmpdir", str(home / "tmp")),
            *("--network-config-dir", str(home / "net"), "--cgroup-manager", "cgroupfs"),
        )

    def __call__(self, *arguments: str) -> str:
        try:
            return command(*self._argv, *arguments)
        finally:
            while machine.reap():  # conmon detaches; its ends are ours to collect
                pass

    def start(self, name: str, *options: str) -> str:
        # Debian's default log driver is journald, which a machine without systemd has not.
        options = ("--log-driver", "k8s-file", f"--cgroup-parent=/{GROUP}", *options)
        return self("run", "-d", "--name", name, *options, "bench", "/bin/sleep", "100000").strip()

    def can(self, userns: bool) -> bool:
        # Debian 12's copies the image for each range of ids, and then cannot remove the container.
        return not userns

    def run(self, name: str, userns: bool, seccomp: bool) -> str:
        return self.start(name, *(() if seccomp else ("--security-opt=seccomp=unconfined",)))

    def remove(self, container: str) -> None:
        self("rm", "-f", "-t", "0", container)


def _measure(podman: Podman, clock: Clock, repetitions: int) -> None:
    podman.remove(podman.start("warmup"))
    with clock.guarded("run, command line", "rm -f", "exec, command line"):
        for index in range(repetitions):
            with clock.time("run, command line"):
                container = podman.start(f"run{index}")
            with clock.time("exec, command line"):
                podman("exec", container, "/bin/true")
            with clock.time("rm -f"):
                podman.remove(container)
    with clock.guarded("network create", "network rm"):
        for index in range(repetitions):
            with clock.time("network create"):
                podman("network", "create", f"net{index}")
            with clock.time("network rm"):
                podman("network", "rm", f"net{index}")
    with clock.guarded("network ls, command line"):
        for _ in range(repetitions):
            with clock.time("network ls, command line"):
                podman("network", "ls")
    with clock.guarded("connect", "disconnect"):
        _measure_connect(podman, clock, repetitions)
    with clock.guarded("publish 100 ports", "remove them"):
        _measure_ports(podman, clock)
    with clock.guarded("memory"):
        _measure_memory(podman, clock)


def _measure_connect(podman: Podman, clock: Clock, repetitions: int) -> None:
    podman("network", "create", "first")
    podman("network", "create", "second")
    container = podman.start("connects", "--network", "first")
    for _ in range(repetitions):
        with clock.time("connect"):
            podman("network", "connect", "second", container)
        with clock.time("disconnect"):
            podman("network", "disconnect", "second", container)
    podman.remove(container)
    podman("network", "rm", "first", "second")


def _measure_ports(podman: Podman, clock: Clock) -> None:
    published = [f"-p={port}:{port}" for port in PORTS]
    plain, ports = Clock(), Clock()
    for kind, options in ((plain, []), (ports, published)):
        with kind.time("up"):
            container = podman.start("ports", *options)
        with kind.time("down"):
            podman.remove(container)
    for operation, part in (("publish 100 ports", "up"), ("remove them", "down")):
        clock.add(operation, ports.samples[part].values[0] - plain.samples[part].values[0])


def _measure_memory(podman: Podman, clock: Clock, containers: int = 10) -> None:
    """One conmon a container; podman itself has gone."""
    made = [podman.start(f"mem{index}") for index in range(containers)]
    clock.add("memory", machine.memory_mb(machine.processes(str(podman.home))) / containers)
    for container in made:
        podman.remove(container)
