"""Netmodel itself: an engine with a private root, through its API socket like any client."""

from __future__ import annotations

import http.client
import json
import sys
from contextlib import suppress
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path

from bench import machine
from bench.crowd import measure_crowd
from bench.daemon_rows import measure_api, measure_cli, measure_memory
from bench.dns import measure_dns
from bench.docker_api import DockerApi, Refused
from bench.measure import Clock
from bench.traffic import measure_networks, measure_traffic
from netmodel import codec
from netmodel.client.start import start_engine
from netmodel.model import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    ContainerConfig,
    EndpointConfig,
    NetworkConfig,
    PoolConfig,
    Project,
    ProjectNetwork,
    ServiceContainer,
)


def measure(directory: Path, clock: Clock, repetitions: int, sizes: list[int]) -> None:
    """Start an engine, measure it, and stop it whatever happens.

    Raises:
        Unavailable: It does not start here.
    """
    root = directory / "ours"
    socket = root / "engine.sock"
    image = str(directory / "image")
    try:
        start_engine(str(root), str(socket))
        api = DockerApi(socket)
        measure_memory(api, image, clock, 20, lambda: _memory(root))
        measure_api(api, image, clock, repetitions)
        measure_dns(api, image, clock, repetitions)
        measure_crowd(socket, image, clock, 200 if repetitions >= 10 else 40)
        program = str(Path(sys.executable).with_name("netmodel"))
        cli = (program, "--root", str(root), "--host", str(socket))
        measure_cli(clock, cli, image, api, max(3, repetitions // 3))
        measure_traffic(api, image, clock, max(3, repetitions // 2), (1, 100, 10_000))
        measure_networks(api, image, clock, max(3, repetitions // 2), 500 if repetitions >= 10 else 100)
        for size in sizes:
            with clock.guarded(f"{size} nodes up, a node", f"{size} nodes down, a node"):
                _measure_topology(api, image, clock, size)
    finally:
        with suppress(OSError, Refused, http.client.HTTPException):
            DockerApi(socket).ask("POST", "/netmodel/shutdown")
        machine.end_all(str(root))
        _remove_cgroups(root)


def _measure_topology(api: DockerApi, image: str, clock: Clock, size: int) -> None:
    project = _topology(image, size)
    body = json.loads(codec.dumps(project))
    with clock.time(f"{size} nodes up, a node", per=size):
        _follow(api, "POST", "/netmodel/projects/up", body)
    with clock.time(f"{size} nodes down, a node", per=size):
        _follow(api, "DELETE", f"/netmodel/projects/{project.name}")


def _follow(api: DockerApi, method: str, path: str, body: object = None) -> None:
    """Read the progress to its end, which says how it went."""
    lines = api.ask_lines(method, path, body)
    last = lines[-1] if lines else {"error": "no answer"}
    if "error" in last:
        raise Refused(str(last["error"]))


def _topology(image: str, size: int) -> Project:
    name = f"bench{size}"
    labels = {PROJECT_LABEL: name}
    network = NetworkConfig(name=f"{name}_lan", labels=labels, pools=(PoolConfig(subnet=IPv4Network("10.77.0.0/16")),))
    containers = tuple(
        ServiceContainer(
            service=f"n{index}",
            number=1,
            name=f"{name}-n{index}-1",
            config=ContainerConfig(
                image=image,
                command=("/bin/sleep", "100000"),
                labels={**labels, SERVICE_LABEL: f"n{index}"},
                networks=(EndpointConfig(network=network.name),),
            ),
        )
        for index in range(size)
    )
    return Project(name=name, networks=(ProjectNetwork(key="lan", config=network),), containers=containers)


def _memory(root: Path) -> float:
    """The engine, its nft worker and the spawner."""
    own = set(machine.processes(str(root)))
    workers = {pid for parent in own for pid in machine.children(parent) if machine.runs(pid, "nft_worker")}
    return machine.memory_mb(sorted(own | workers))


def _remove_cgroups(root: Path) -> None:
    # Should it have died: its group is named after its root.
    machine.remove_cgroups(f"netmodel_{sha256(str(root.resolve()).encode()).hexdigest()[:8]}")
