"""Many callers at once: nothing is lost, nothing is given twice, unrelated things do not wait for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from netmodel.engine import Engine
from netmodel.errors import Conflict, NetmodelError, NotFound
from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig
from tests.netmodel.engine.conftest import SLEEP, Run, execute
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def at_once(*work: Callable[[], object]) -> list[BaseException | None]:
    """Do all of these together; what each one raised."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [future.exception() for future in [pool.submit(one) for one in work]]


def test_whole_lives_side_by_side(engine: Engine, host: Box) -> None:
    for name in ("a", "b"):
        engine.create_network(NetworkConfig(name=name))
    seen: list[str] = []

    def live(number: int) -> None:
        networks = (EndpointConfig(network="a"), EndpointConfig(network="b"))
        container = engine.create_container(
            ContainerConfig(image="host", command=SLEEP, networks=networks), f"c{number}"
        )
        engine.start(container.id)
        seen.extend(str(address) for one in engine.endpoints(container_id=container.id) for address in one.addresses)
        assert execute(engine, container.id, "true")[0] == 0
        engine.disconnect("b", container.id)
        engine.connect("b", container.id)
        engine.restart(container.id, timeout_s=0)
        engine.remove(container.id, force=True)

    assert at_once(*[lambda number=number: live(number) for number in range(6)]) == [None] * 6  # type: ignore[misc]

    assert len(seen) == len(set(seen)) == 12
    assert engine.endpoints() == []
    assert engine._core.spawner.status() == []
    assert engine._core.spawner.pins() == []
    assert engine._core.cgroups.names() == []
    engine._core.reaper.drain()
    links = host.run("ip", "-o", "link").stdout
    eventually(lambda: "nm" not in host.run("ip", "-br", "link").stdout.replace("netmodel", ""), what=links)


def test_one_name_one_winner(engine: Engine) -> None:
    config = ContainerConfig(image="host", command=SLEEP)

    outcomes = at_once(*[lambda: engine.create_container(config, "web")] * 4)

    assert sum(outcome is None for outcome in outcomes) == 1
    assert all(isinstance(outcome, Conflict) for outcome in outcomes if outcome is not None)
    assert len(engine.containers()) == len(engine.endpoints()) == 1
    assert engine._core.layers.containers() == [engine.containers()[0].id]


def test_starting_and_removing_the_same_container(engine: Engine, run: Run) -> None:
    """Whoever comes second finds it gone, or finds it running; nothing is left half-way."""
    for _ in range(5):
        container = engine.create_container(ContainerConfig(image="host", command=SLEEP), "web")

        outcomes = at_once(
            lambda: engine.start(container.id),  # noqa: B023 - all is done before the next round
            lambda: engine.remove(container.id, force=True),  # noqa: B023
        )

        assert outcomes[1] is None
        assert outcomes[0] is None or isinstance(outcomes[0], NotFound)
        assert engine.containers() == []
        assert engine._core.spawner.status() == []


def test_a_network_does_not_vanish_under_a_container_that_comes(engine: Engine) -> None:
    for _ in range(5):
        network = engine.create_network(NetworkConfig(name="lan"))
        wanted = ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="lan"),))

        made, removed = at_once(lambda: engine.create_container(wanted, "web"), lambda: engine.remove_network("lan"))  # noqa: B023

        assert (made is None) != (removed is None)
        assert isinstance(made or removed, NetmodelError)
        if made is None:
            engine.start("web")
            engine.remove("web", force=True)
            engine.remove_network(network.id)


def test_a_slow_stop_delays_nobody_else(engine: Engine, run: Run) -> None:
    run("deaf", command=("sh", "-c", "trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done"))
    run("other")
    eventually(lambda: list(engine.logs("deaf")))
    stopping = threading.Thread(target=lambda: engine.stop("deaf", timeout_s=60))
    stopping.start()

    began = time.monotonic()
    engine.stop("other")
    run("third")
    assert time.monotonic() - began < 5
    engine.kill("deaf")  # does not wait for the stop to be over

    stopping.join(10)
    assert not stopping.is_alive()
    assert engine.container("deaf").state.exit_code == 137
