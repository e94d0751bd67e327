"""Kill the engine while it connects or disconnects a running container: the next one makes report and kernel agree."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from netmodel.engine.engine import Engine
from netmodel.topology import load
from tests.netmodel.engine.conftest import execute, output_of
from tests.netmodel.engine.engine_process import Zygote
from tests.netmodel.engine.test_crash import is_killed, zygote
from tests.support.box import Box

__all__ = ["zygote"]

TOPOLOGY = """
name: plug
services:
  web: {image: host, command: sleep 300, networks: [front]}
  app: {image: host, command: sleep 300, networks: [front, extra]}
networks:
  front: {internal: true}
  extra: {EXTRA}
"""
# A link with an end on the host, one that lies in the sandbox alone, and one whose other end is in another.
DRIVERS = {"bridge": "internal: true", "macvlan": "driver: macvlan", "p2p": "driver: p2p"}
WEB = "plug-web-1"


@pytest.fixture(params=DRIVERS)
def topology(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / "plug.yaml"
    file.write_text(TOPOLOGY.replace("EXTRA", DRIVERS[request.param]))
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
        on = engine.network(one.network_id).name
        assert execute(engine, "plug-app-1", "ping", "-c1", "-W2", f"{WEB}.{on}")[0] == 0, on
        assert execute(engine, WEB, "ping", "-c1", "-W2", f"plug-app-1.{on}")[0] == 0, on
    for name in ("plug_front", "plug_extra"):
        [(_, usage)] = engine.usage(name)
        network = engine.network(name)
        assert usage.in_use == (network.pools[0].gateway is not None) + len(engine.endpoints(network_id=network.id))


@pytest.mark.kernel
@pytest.mark.slow
@pytest.mark.parametrize("verb", ["connect", "disconnect"])
def test_killed_at_every_step(host: Box, tmp_path: Path, zygote: Zygote, topology: Path, verb: str) -> None:
    root = tmp_path / "root"
    for at in itertools.count(1):
        if not is_killed(zygote, host, root, topology, verb, at):
            break

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
    assert at > 4
