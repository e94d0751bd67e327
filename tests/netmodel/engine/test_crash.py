"""Kill the engine at every kind of moment: one start of a new one leaves nothing behind and loses nothing declared."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

import nftables
import pytest

from netmodel.engine.engine import Engine
from netmodel.topology import load
from tests.support.box import Box
from tests.support.wait import eventually

CHILD = Path(__file__).with_name("crash_child.py")

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
# Of the 70 steps or so two in three are killed at, before they take effect: that is after the one before did.
# All of them would take a quarter of the whole suite's time.
SHARES = 6


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "crash.yaml"
    file.write_text(TOPOLOGY)
    return file


def run_child(root: Path, topology: Path, verb: str, at: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(CHILD), str(root), str(topology), verb, str(at)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def steps_of(verb: str, root: Path, topology: Path) -> int:
    whole = run_child(root, topology, verb, 0)
    assert whole.returncode == 0, whole.stderr
    return int(whole.stdout)


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
def test_killed_at_every_step(host: Box, tmp_path: Path, topology: Path, verb: str, share: int) -> None:
    total = steps_of(verb, tmp_path / "whole", topology)
    for at in range(1 + share, total + 1, SHARES):
        root = tmp_path / f"root{at}"
        died = run_child(root, topology, verb, at)
        if died.returncode == 0 and int(died.stdout) < at:
            return  # two threads start containers: a run may take a step less than the one we counted
        assert died.returncode == -9, f"step {at}: {died.stdout}{died.stderr}"

        check_all_or_nothing(host, root, topology)


@pytest.mark.kernel
def test_killed_twice(host: Box, tmp_path: Path, topology: Path) -> None:
    """A crash during the repair of a crash is repaired as well."""
    root = tmp_path / "root"
    for at in (20, 3, 8, 30):
        run_child(root, topology, "up", at)

    check_all_or_nothing(host, root, topology)
