"""Kill the engine while published ports move to another network, or their container is between two lives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig, PortConfig
from tests.netmodel.engine import agreement
from tests.netmodel.engine.conftest import SLEEP
from tests.netmodel.engine.engine_process import Died, EngineProcess, Report, Zygote
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.slow]
ROUTED = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
WEB = PortConfig(container_port=80, host_port=8080)
OUT, AWAY = EndpointConfig(network="out"), EndpointConfig(network="routed", gw_priority=1)
# What is asked for, the networks before it, and steps after which nothing of it has to do with ports.
ASKED = {
    "connect": (("connect", "out", "web", EndpointConfig(network="out", gw_priority=2)), (AWAY,), 5),
    "disconnect": (("disconnect", "routed", "web"), (OUT, AWAY), 4),
    "restart": (("restart", "web", 0), (OUT,), 0),
}


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


def settled(engine: EngineProcess) -> Report | None:
    """What it reports once its container runs."""
    engine.ask("drain")
    report: Report = engine.ask("report")
    return report if report.containers[0].state.status == "running" else None


@pytest.mark.parametrize("what", ASKED)
def test_killed_at_every_step(host: Box, tmp_path: Path, zygote: Zygote, what: str) -> None:
    request, networks, before = ASKED[what]
    at = before
    died = True
    while died:
        at += 1
        with ExitStack() as undo:
            root = tmp_path / f"root{at}"
            engine = EngineProcess(zygote, root, host)
            undo.callback(lambda: engine.close())  # noqa: B023 - whichever it is by then, in this round
            engine.ask("create_network", NetworkConfig(name="routed", options=ROUTED))
            engine.ask("create_network", NetworkConfig(name="out"))
            config = ContainerConfig(image="host", command=SLEEP, networks=networks, ports=(WEB,))
            engine.ask("create_container", config, "web")
            undo.callback(lambda: engine.ask("remove", "web", force=True))  # noqa: B023
            engine.ask("start", "web")
            try:
                engine.ask(*request, fuse=at)
                died = False
            except Died:
                engine = EngineProcess(zygote, root, host)

            report = eventually(lambda: settled(engine), what=f"step {at}")  # noqa: B023

            agreement.check(report, root, host)
            [container] = report.containers
            endpoint = agreement.publisher(report, container)
            assert endpoint is not None
            served = agreement.is_served(report.network(endpoint.network_id), WEB)
            assert [port.host_port for port in container.ports] == [8080 if served else 0], f"step {at}"
            assert report.warnings == (), f"step {at}"
    assert at > before + 5
