"""docker-compose drives the engine as it drives Docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import Daemon, needs_compose

pytestmark = [pytest.mark.kernel, pytest.mark.slow, needs_compose]

FILE = """
version: "3.7"
services:
  web:
    image: host
    command: python3 -m http.server 80
    ports: ["8085:80"]
    networks: {front: {aliases: [www], ipv4_address: 10.64.0.9}, back: {}}
    depends_on: [db]
    healthcheck: {test: ["CMD", "true"], interval: 1s}
  db:
    image: host
    command: sleep infinity
    stop_grace_period: 0s
    networks: [back]
    volumes: ["data:/data"]
networks: {front: {ipam: {config: [{subnet: 10.64.0.0/24}]}}, back: {internal: true}}
volumes: {data: {}}
"""


def test_a_project_s_life(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(FILE)

    def compose(*argv: str) -> str:
        done = daemon.run("docker-compose", "--ansi", "never", "-p", "shop", "-f", str(file), *argv)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    compose("up", "-d")
    assert len(compose("ps", "-q").split()) == 2
    assert compose("port", "web", "80").strip() == "0.0.0.0:8085"
    assert "db" in compose("exec", "-T", "web", "getent", "hosts", "db")
    assert "up-to-date" in compose("up", "-d")
    compose("up", "-d", "--scale", "db=3")
    assert len(compose("ps", "-q", "db").split()) == 3
    file.write_text(FILE.replace("server 80", "server --bind 0.0.0.0 80"))  # made anew, with its address and port
    assert "Recreating" in compose("up", "-d", "--no-deps", "web")
    assert "10.64.0.9" in compose("exec", "-T", "web", "hostname", "-I")
    assert compose("port", "web", "80").strip() == "0.0.0.0:8085"
    file.write_text(FILE)
    compose("pause")
    compose("unpause")
    compose("restart", "-t", "0")
    compose("stop", "-t", "0")
    assert compose("ps", "--services", "--filter", "status=running").split() == []
    compose("start")
    compose("down", "-v", "-t", "0")

    assert daemon.client.get("/containers/json", all=True) == []
    assert {one["Name"] for one in daemon.client.get("/networks")} == {"bridge", "host", "none"}
    assert daemon.client.get("/volumes")["Volumes"] in ([], None)
