"""Kill the engine while it connects or disconnects a running container: the next one makes report and kernel agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.engine.engine import Engine
from netmodel.topology import load
from tests.netmodel.engine.conftest import execute, output_of
from tests.netmodel.engine.test_crash import run_child, steps_of
from tests.support.box import Box

TOPOLOGY = """
name: plug
services:
  web: {image: host, command: sleep 300, networks: [front]}
  app: {image: host, command: sleep 300, networks: [front, extra]}
networks:
  front: {internal: true}
  extra: {internal: true}
"""
WEB = "plug-web-1"


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    file = tmp_path / "plug.yaml"
    file.write_text(TOPOLOGY)
    return file


def check_agreement(engine: Engine) -> None:
    """What we say web is attached to is what the kernel, the name service and its files say."""
    endpoints = engine.endpoints(engine.container(WEB).id)
    said = {(one.interface, one.mac, str(one.addresses[0])) for one in endpoints}

    lines = [line.split() for line in output_of(engine, WEB, "ip", "-o", "-4", "addr", "show", "up").splitlines()]
    links = {words[1]: words[3] for words in lines if words[1] != "lo"}
    macs = {name: output_of(engine, WEB, "cat", f"/sys/class/net/{name}/address").strip() for name in links}
    assert {(name, macs[name], address) for name, address in links.items()} == said
    hosts = output_of(engine, WEB, "cat", "/etc/hosts").splitlines()
    own = {line.split()[0] for line in hosts if line.endswith(engine.container(WEB).id[:12])}
    assert own == {str(one.addresses[0].ip) for one in endpoints}
    for one in endpoints:
        network = engine.network(one.network_id).name
        assert execute(engine, "plug-app-1", "ping", "-c1", "-W2", f"{WEB}.{network}")[0] == 0, network
        assert execute(engine, WEB, "ping", "-c1", "-W2", f"plug-app-1.{network}")[0] == 0, network
    for name in ("plug_front", "plug_extra"):
        [(_, usage)] = engine.usage(name)
        assert usage.in_use == 1 + len(engine.endpoints(network_id=engine.network(name).id))


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize("verb", ["connect", "disconnect"])
def test_killed_at_every_step(host: Box, tmp_path: Path, topology: Path, verb: str) -> None:
    for at in range(1, steps_of(verb, tmp_path / "whole", topology) + 1):
        root = tmp_path / f"root{at}"
        died = run_child(root, topology, verb, at)
        assert died.returncode == -9, f"step {at}: {died.stdout}{died.stderr}"

        with Engine(root) as engine:
            assert engine.info().warnings == (), f"step {at}"
            try:
                check_agreement(engine)
                attached = {engine.network(one.network_id).name for one in engine.endpoints(engine.container(WEB).id)}
                if "plug_extra" in attached:
                    engine.disconnect("plug_extra", WEB)
                engine.connect("plug_extra", WEB)
                check_agreement(engine)
            except AssertionError as error:
                raise AssertionError(f"step {at}: {error}") from error
            finally:
                engine.down(load(topology, {}).project.name, volumes=True)
