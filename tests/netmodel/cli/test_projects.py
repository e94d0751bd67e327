"""up, plan, check, matrix and down from the command line, on a real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

pytestmark = pytest.mark.kernel

PAIR = """
name: pair
services:
  left: {image: host, command: sleep infinity, networks: [lan]}
  right: {image: host, command: sleep infinity, networks: [lan]}
  alone: {image: host, command: sleep infinity, networks: [far]}
networks:
  lan: {ipam: {config: [{subnet: 10.89.1.0/24}]}}
  far:
x-expect:
  - left -> right: {icmp: true}
  - left -/> alone: {icmp: true}
"""


def test_a_topology_from_its_file_to_its_proof(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "any.yaml"
    file.write_text(PAIR)

    planned = json.loads(daemon.ok("plan", "--json", str(file)))
    assert [(step["action"], step["kind"]) for step in planned] == 2 * [("create", "network")] + 3 * [
        ("create", "container")
    ]
    up = daemon.netmodel("up", str(file))
    assert (up.returncode, up.stdout) == (0, "")
    assert "container pair-left-1 created" in up.stderr
    assert "project pair stands: 3 containers" in up.stderr
    assert "nothing to do" in daemon.netmodel("up", str(file)).stderr
    assert daemon.ok("ps", "-q", "--filter", "label=com.docker.compose.project=pair").count("\n") == 2

    checked = json.loads(daemon.netmodel("check", "--json", str(file)).stdout)
    assert [result["verdict"] for result in checked] == ["held", "held"]
    who = json.loads(daemon.ok("matrix", "--json", "pair"))
    reached = {(cell["source"], cell["target"]) for cell in who["cells"] if cell["result"] == "reached"}
    assert ("pair-left-1", "pair-right-1") in reached
    assert ("pair-left-1", "pair-alone-1") not in reached

    down = daemon.netmodel("down", "pair")
    assert down.returncode == 0, down.stderr
    assert daemon.ok("ps", "-aq", "--filter", "label=com.docker.compose.project=pair") == ""
    assert daemon.ok("network", "ls", "-q", "--filter", "label=com.docker.compose.project=pair") == ""


def test_links_between_services_and_to_others(daemon: Daemon, tmp_path: Path) -> None:
    """An alias of a service stands for all its containers; an external link for a container of others."""
    file = tmp_path / "links.yaml"
    file.write_text(
        """
name: links
services:
  web: {image: host, command: sleep infinity, links: ["db:store"], external_links: ["stranger:other"]}
  db: {image: host, command: sleep infinity, scale: 2}
"""
    )
    daemon.ok("up", str(file))
    daemon.ok("run", "-d", "--name", "stranger", "--network", "links_default", "host", "sleep", "infinity")

    store = daemon.ok("exec", "links-web-1", "getent", "ahostsv4", "store")
    assert store == daemon.ok("exec", "links-web-1", "getent", "ahostsv4", "db") or len(store.splitlines()) == 6
    assert daemon.ok("exec", "links-web-1", "getent", "hosts", "other") != ""
    assert daemon.netmodel("exec", "links-db-1", "getent", "hosts", "store").returncode == 2
    assert "nothing to do" in daemon.netmodel("up", str(file)).stderr
    daemon.ok("rm", "-f", "stranger")
    daemon.ok("down", "links")


def test_a_broken_expectation_fails_with_a_reason(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "pair.yaml"
    file.write_text(PAIR.replace("name: pair", "name: broken").replace("10.89.1", "10.89.2"))
    daemon.ok("up", str(file))
    # What the file says now is proven, without another up.
    file.write_text(
        file.read_text().replace("left -/> alone: {icmp: true}", "left -> alone: {icmp: true, within: 0.5s}")
    )

    done = daemon.netmodel("check", str(file))

    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 2 hold" in done.stdout
    daemon.ok("down", str(file))


def test_all_mistakes_at_once_and_nothing_done(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("services:\n  a:\n    imagee: host\n    networks: [nowhere]\n    mem_limit: lots\n")

    done = daemon.netmodel("up", str(file))

    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert [line for line in lines if line.startswith(f"{file}:3:") and "imagee" in line]
    assert [line for line in lines if line.startswith(f"{file}:") and "nowhere" in line]
    assert [line for line in lines if line.startswith(f"{file}:5:")]
    assert lines[-1] == f"error: {len(lines) - 1} mistakes in {file}"


def test_what_is_not_there(daemon: Daemon, tmp_path: Path) -> None:
    file = daemon.netmodel("up", str(tmp_path / "none.yaml"))
    name = daemon.netmodel("check", "nosuch")

    assert (file.returncode, name.returncode) == (2, 2)
    assert "none.yaml" in file.stderr
    assert "hint: " in name.stderr


def test_a_program_that_is_missing_is_a_failure_and_no_wrong_request(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("name: nothing\nservices: {one: {image: host, command: /nonexistent}}")

    up = daemon.netmodel("up", str(file))

    assert up.returncode == 1
    assert "no such file in the container" in up.stderr
