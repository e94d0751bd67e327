"""Kill the engine at every kind of moment: one start of a new one leaves nothing behind and loses nothing declared."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import nftables
import pytest

from netmodel.engine.engine import Engine
from netmodel.topology import load
from tests.netmodel.engine.engine_process import Died, EngineProcess, Zygote
from tests.support.box import Box
from tests.support.wait import eventually

TOPOLOGY = """
services:
  web:
    image: host
    command: sleep 300
    networks: [front, back, cable, segment]
    ports: ["127.0.0.1:0:80", "18080:80/udp"]
    volumes: ["data:/data"]
    mem_limit: 64m
  app: {image: host, command: sleep 300, networks: [back, cable], depends_on: [web]}
  side: {image: host, command: sleep 300, network_mode: "service:app"}
networks:
  front: {enable_ipv6: true}
  back: {internal: true}
  cable: {x-link: p2p}
  segment: {driver: macvlan}
volumes: {data: {}}
"""
# Of the steps, which are 50 or so, two in three are killed at, before they take effect: that is after the one before
# did. All of them would take a tenth of the whole suite's time.
SHARES = 6
FEWEST_STEPS = {"up": 40, "down": 25}


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "crash.yaml"
    file.write_text(TOPOLOGY)
    return file


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


def is_killed(zygote: Zygote, host: Box, root: Path, topology: Path, verb: str, at: int) -> bool:
    """Do something to a topology in an engine that is killed before a step of it; False when it has fewer.

    Args:
        verb: "up", "down"; or "connect", "disconnect", of the first web container and the network extra.
    """
    project = load(topology, {}).project
    attachment = (f"{project.name}_extra", f"{project.name}-web-1")
    engine = EngineProcess(zygote, root, host)
    if verb != "up":
        engine.ask("up", project)
    if verb == "disconnect":
        engine.ask("connect", *attachment)
    try:
        if verb == "up":
            engine.ask("up", project, fuse=at, finer=False)
        elif verb == "down":
            engine.ask("down", project.name, volumes=True, fuse=at, finer=False)
        else:
            engine.ask(verb, *attachment, fuse=at)
    except Died:
        return True
    if verb != "down":
        engine.ask("down", project.name, volumes=True)
    engine.close()
    return False


def traces(host: Box, root: Path) -> list[str]:
    """Whatever this root has in the kernel and on disk."""
    root_id = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    links = [line.split(":")[1].strip() for line in host.run("ip", "-o", "link").stdout.splitlines()]
    found = [f"link {name}" for name in links if name != "lo"]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"*netmodel_{root_id}/*/")]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"*/netmodel_{root_id}/*/")]
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]
    found += [f"directory {path}" for path in (root / "containers").glob("*")]
    found += [f"table element {line}" for line in elements(root_id)]
    return found


def elements(root_id: str) -> list[str]:
    nft = nftables.Nftables()
    code, output, _ = nft.cmd(f"list table inet netmodel_{root_id}")
    return [line.strip() for line in output.splitlines() if "elements" in line] if code == 0 else []


def expect_no_trace(host: Box, engine: Engine) -> None:
    # The predefined network is the engine's own, as docker0 is dockerd's.
    own = f"br-{engine.network('bridge').id[:12]}"

    def found() -> list[str]:
        return [
            trace for trace in traces(host, engine.root) if trace.replace(f'"{own}"', "").count('"') or own not in trace
        ]

    try:
        eventually(lambda: not found())
    except AssertionError:
        pytest.fail("left behind: " + "; ".join(found()))


def check_all_or_nothing(host: Box, root: Path, topology: Path) -> None:
    """One start of a new engine: the project stands whole, or there is no trace of it."""
    project = load(topology, {}).project
    with Engine(root) as engine:
        running = [one for one in engine.containers() if one.state.status == "running"]
        if running:
            assert len(running) == len(engine.containers()) == 3
            engine.down(project.name, volumes=True)
        assert engine.containers() == []
        assert engine.volumes() == []
        assert {network.name for network in engine.networks()} <= {"bridge", "host", "none"}
        expect_no_trace(host, engine)
        # Nothing is held in memory either: names, addresses and ports are free again.
        engine.up(project)
        assert len([one for one in engine.containers() if one.state.status == "running"]) == 3
        engine.down(project.name, volumes=True)
        expect_no_trace(host, engine)


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 1, 3, 4])
@pytest.mark.parametrize("verb", ["up", "down"])
def test_killed_at_every_step(host: Box, tmp_path: Path, zygote: Zygote, topology: Path, verb: str, share: int) -> None:
    root = tmp_path / "root"
    for at in itertools.count(1 + share, SHARES):
        if not is_killed(zygote, host, root, topology, verb, at):
            break

        check_all_or_nothing(host, root, topology)
    assert at > FEWEST_STEPS[verb]


@pytest.mark.kernel
def test_killed_twice(host: Box, tmp_path: Path, zygote: Zygote, topology: Path) -> None:
    """A crash during the repair of a crash is repaired as well."""
    root = tmp_path / "root"
    for at in (20, 3, 8, 30):
        assert is_killed(zygote, host, root, topology, "up", at)

    check_all_or_nothing(host, root, topology)
