"""Every file in topologies/ does what its comments say: up, proven by packets, down, nothing left."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from netmodel.project import ServiceContainer
from netmodel.topology import load
from tests.support.box import Box
from tests.support.daemon import NETMODEL, Daemon, daemon
from tests.support.wait import eventually

__all__ = ["daemon"]

DIRECTORY = Path(__file__).parents[2] / "topologies"
FILES = sorted(DIRECTORY.glob("*.yaml"))
PROGRAMS = {"shop": ("nginx", "redis-server")}
PUBLISHED = {"quickstart": 8080, "shop": 8088}

pytestmark = pytest.mark.kernel


@dataclass(frozen=True, slots=True)
class Cli:
    """The command, with an engine in the test's "host"."""

    environment: dict[str, str]
    projects: set[str] = field(default_factory=set)

    def up(self, file: Path) -> str:
        self.projects.add(file.stem)
        return self("up", str(file))

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [NETMODEL, *argv], capture_output=True, text=True, env=self.environment, timeout=110, check=False
        )

    def __call__(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, f"netmodel {' '.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *argv: str) -> Any:
        return json.loads(self(*argv, "--json"))


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Box]:
    """The module's engine's host; the test is inside."""
    with daemon.box.entered():
        yield daemon.box


@pytest.fixture
def netmodel(daemon: Daemon, host: Box) -> Iterator[Cli]:
    cli = Cli(daemon.environment)
    yield cli
    for project in cli.projects:
        cli.run("down", "--volumes", project)
    # The loopback and the default bridge.
    eventually(lambda: len(_links(host)) == 2, what="the end of all other links")


def _require_programs(file: Path) -> None:
    for program in PROGRAMS.get(file.stem, ()):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            pytest.skip(f"{program} is not installed")


def _links(host: Box) -> set[str]:
    return {link["ifname"] for link in json.loads(host.run("ip", "-json", "link").stdout)}


def _get(port: int) -> str:
    """What a published port answers; "" while nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file(netmodel: Cli, host: Box, file: Path) -> None:
    _require_programs(file)
    declared = load(file, {}).project
    before = _links(host)

    netmodel.up(file)
    running = {one["Names"][0].lstrip("/") for one in netmodel.json("ps") if one["State"] == "running"}
    assert running == {one.name for one in declared.containers}

    results = netmodel.run("check", str(file))
    assert results.returncode == 0, results.stdout + results.stderr
    assert len(declared.expectations) > 1
    assert any(not expectation.reachable for expectation in declared.expectations)

    if file.stem in PUBLISHED:
        assert eventually(lambda: _get(PUBLISHED[file.stem]))

    steps = netmodel.json("plan", str(file))
    assert {step["action"] for step in steps} == {"keep"}, steps

    netmodel("down", str(file))
    netmodel.projects.discard(file.stem)
    assert netmodel.json("ps", "--all") == []
    # Links leave in batches, a moment after they are out of service.
    eventually(lambda: _links(host) <= before, what=f"links beside {before}")


def test_a_wrong_expectation_fails_and_says_why(netmodel: Cli, tmp_path: Path) -> None:
    wrong = tmp_path / "quickstart.yaml"
    wrong.write_text((DIRECTORY / "quickstart.yaml").read_text().replace("web -/> db", "web -> db"))

    netmodel.up(wrong)
    checked = netmodel.run("check", str(wrong))

    assert checked.returncode == 1
    assert "failed  web -> db: tcp 5432" in checked.stdout


def test_only_what_changed_is_made_anew(netmodel: Cli, tmp_path: Path) -> None:
    file = tmp_path / "quickstart.yaml"
    text = (DIRECTORY / "quickstart.yaml").read_text()
    file.write_text(text)
    netmodel.up(file)

    file.write_text(text.replace("mem_limit: 128m", "mem_limit: 64m"))
    steps = {step["name"]: step for step in netmodel.json("up", str(file))}

    assert steps["quickstart-app-1"]["action"] == "recreate"
    assert steps["quickstart-app-1"]["detail"] == "mem_limit changed"
    assert {name for name, step in steps.items() if step["action"] != "keep"} == {"quickstart-app-1"}


def test_what_hangs_on_a_changed_network_is_made_anew_with_it(netmodel: Cli, tmp_path: Path) -> None:
    file = tmp_path / "change.yaml"
    idle = "image: host, command: sleep infinity, stop_signal: SIGKILL"
    file.write_text(f"""
services:
  a: {{{idle}, networks: [lan]}}
  side: {{{idle}, network_mode: "service:a"}}
  b: {{{idle}, networks: [lan], scale: 2}}
  gone: {{{idle}, networks: [old]}}
  away: {{{idle}, network_mode: none}}
networks: {{lan: {{}}, old: {{}}}}
""")
    netmodel.up(file)

    file.write_text(f"""
services:
  a: {{{idle}, networks: [lan]}}
  side: {{{idle}, network_mode: "service:a"}}
  b: {{{idle}, networks: [lan], scale: 1}}
  away: {{{idle}, network_mode: none}}
networks: {{lan: {{internal: true}}}}
x-expect: [side -> b, b -> side]
""")
    planned = {step["name"]: step["action"] for step in netmodel.json("plan", str(file))}
    netmodel.up(file)

    assert planned == {
        "change-b-2": "remove",
        "change-gone-1": "remove",
        "change_lan": "recreate",
        "change-a-1": "recreate",
        "change-side-1": "recreate",
        "change-b-1": "recreate",
        "change-away-1": "keep",
        "change_old": "remove",
    }
    netmodel("check", str(file))
    assert {step["action"] for step in netmodel.json("plan", str(file))} == {"keep"}


def test_the_shop_counts_and_its_replicas_take_turns(netmodel: Cli) -> None:
    file = DIRECTORY / "shop.yaml"
    _require_programs(file)
    netmodel.up(file)

    counts: list[int] = []
    replicas: set[str] = set()

    def both_answered() -> bool:
        words = _get(PUBLISHED["shop"]).split()
        if words:  # "visitor 7, served by 3f2a9c81d0e4"
            counts.append(int(words[1].rstrip(",")))
            replicas.add(words[-1])
        return len(replicas) == 2

    eventually(both_answered)
    assert counts == sorted(set(counts))


def test_every_container_ends_when_it_is_asked_to() -> None:
    """Else each "down" takes ten seconds: a first process is deaf to signals that it has no handler for."""

    def hears(one: ServiceContainer) -> bool:
        program = (one.config.command or ("",))[0]
        return {"sleep": "SIGKILL", "python3": "SIGINT"}.get(program, one.config.stop_signal) == one.config.stop_signal

    for path in FILES:
        assert all(hears(one) for one in load(path, {}).project.containers), path
