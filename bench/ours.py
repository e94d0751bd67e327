"""Netmodel itself: an engine with a private root, through its API socket like any client."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from ipaddress import IPv4Network
from pathlib import Path

from bench import machine
from bench.crowd import measure_crowd
from bench.daemon_rows import measure_api, measure_cli, measure_memory
from bench.dns import measure_dns
from bench.docker_api import DockerApi, Refused
from bench.engine import Engine
from bench.measure import Clock
from bench.rows import OURS
from bench.standing import measure_standing
from bench.traffic import measure_traffic
from drivers.kernel.namespace import open_in
from netmodel import codec
from netmodel.client.errors import EngineUnavailable
from netmodel.client.start import start_engine
from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig, PoolConfig
from netmodel.project import PROJECT_LABEL, SERVICE_LABEL, Project, ProjectNetwork, ServiceContainer


def measure(directory: Path, clock: Clock, repetitions: int, sizes: list[int]) -> None:
    """Start an engine, measure it, and stop it whatever happens.

    Raises:
        Unavailable: It does not start here.
    """
    with running(directory, "ours") as engine:
        api, image = engine.api, engine.image
        measure_memory(engine, clock, 20)
        measure_api(api, image, clock, repetitions)
        measure_dns(engine, clock, repetitions)
        measure_crowd(engine, clock, 200 if repetitions >= 10 else 40)
        measure_cli(clock, engine.cli, image, api, max(3, repetitions // 3))
        measure_traffic(api, image, clock, max(3, repetitions // 2))
        for size in sizes:
            with clock.guarded(f"{size} nodes up, a node", f"{size} nodes down, a node"):
                _measure_topology(api, image, clock, size)
    full = repetitions >= 10
    with running(directory, "standing-ours") as engine:
        measure_standing(engine, clock, repetitions, 1_000 if full else 100, 60 if full else 4)


@contextmanager
def running(directory: Path, name: str, netns: Path | None = None) -> Iterator[Engine]:
    """An engine with a root of its own, stopped whatever happens.

    Args:
        name: Of its root; no other's may begin with it.
        netns: Where it lives; ours without.

    Raises:
        Unavailable: It does not start here.
    """
    root = directory / name
    socket = root / "engine.sock"
    program = str(Path(sys.executable).with_name("netmodel"))
    try:
        try:
            open_in(netns, lambda: start_engine(str(root), str(socket)))
        except EngineUnavailable as error:
            raise machine.Unavailable(str(error)) from error
        yield Engine(
            column=OURS,
            api=DockerApi(socket),
            socket=socket,
            image=str(directory / "image"),
            cli=(program, "--root", str(root), "--host", str(socket)),
            parts=lambda: _parts(root),
        )
    finally:
        with suppress(OSError, Refused, http.client.HTTPException):
            DockerApi(socket).ask("POST", "/netmodel/shutdown")
        machine.end_all(str(root))
        # Should it have died: its group is named after its root.
        machine.remove_cgroups(f"netmodel_{sha256(str(root.resolve()).encode()).hexdigest()[:8]}")


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


def _parts(root: Path) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {"engine": [], "spawner": [], "nft worker": []}
    for pid in machine.processes(str(root)):
        parts["engine" if machine.runs(pid, "netmodel.daemon") else "spawner"].append(pid)
    for engine in parts["engine"]:
        parts["nft worker"] += [pid for pid in machine.children(engine) if machine.runs(pid, "nft_worker")]
    return parts
