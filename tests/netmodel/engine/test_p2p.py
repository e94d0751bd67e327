"""Links between two containers: whole as long as both run, kept for the one that stays."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig, PoolConfig
from tests.netmodel.engine.conftest import SLEEP, Run, clean_up, execute, output_of, runner
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


@pytest.fixture
def cable(engine: Engine) -> NetworkConfig:
    return make_cable(engine)


def make_cable(engine: Engine) -> NetworkConfig:
    pool = PoolConfig(subnet=IPv4Network("10.0.12.0/30"))
    return engine.create_network(NetworkConfig(name="cable", driver="p2p", pools=(pool,))).config


def reaches(engine: Engine, source: str, target: str) -> bool:
    return execute(engine, source, "ping", "-c1", "-W1", target)[0] == 0


def state(engine: Engine, ref: str, link: str = "eth0") -> tuple[str, bool]:
    """A link's index in a container, and whether it has a carrier."""
    line = output_of(engine, ref, "ip", "-o", "link", "show", link)
    return line.partition(":")[0], "NO-CARRIER" not in line


def test_two_containers_reach_each_other_and_nothing_else(
    engine: Engine, run: Run, host: Box, cable: NetworkConfig
) -> None:
    run("a", "cable")
    run("b", "cable")

    assert reaches(engine, "a", "b")  # by its name
    assert reaches(engine, "b", "10.0.12.1")
    assert output_of(engine, "a", "ip", "route") == "10.0.12.0/30 dev eth0 proto kernel scope link src 10.0.12.1 \n"
    assert "veth" not in host.run("ip", "-d", "link").stdout


def test_names_addresses_and_macs_are_as_asked_for(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    wish = EndpointConfig(
        network="cable",
        interface_name="wan",
        ipv4_address=IPv4Address("10.0.12.2"),
        mac_address="02:00:00:00:00:12",
    )
    run("a", networks=(wish, EndpointConfig(network="lan")))
    run("b", "cable")

    links = output_of(engine, "a", "ip", "-o", "link")
    assert "wan@" in links
    assert "eth0@" in links
    assert "02:00:00:00:00:12" in output_of(engine, "a", "ip", "link", "show", "wan")
    assert "default via" in output_of(engine, "a", "ip", "route", "show", "dev", "eth0")
    assert reaches(engine, "b", "10.0.12.2")


def test_a_third_is_refused(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    run("a", "cable")
    run("b", "cable")

    with pytest.raises(NetmodelError, match="network cable is full") as full:
        engine.create_container(
            ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="cable"),)), "c"
        )

    assert full.value.kind == "unavailable"
    assert [one.name for one in engine.containers() if one.name == "c"] == []


def test_a_link_has_no_gateway(engine: Engine) -> None:
    pool = PoolConfig(subnet=IPv4Network("10.0.13.0/30"), gateway=IPv4Address("10.0.13.1"))

    with pytest.raises(NetmodelError, match="has no gateway") as refused:
        engine.create_network(NetworkConfig(name="odd", driver="p2p", pools=(pool,)))

    assert refused.value.kind == "invalid"


def test_one_that_restarts_keeps_the_link(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    """Its namespace outlives its process, so neither side sees the link go down."""
    run("a", "cable")
    run("b", "cable")
    before = state(engine, "a"), state(engine, "b")

    engine.restart("b", timeout_s=0)

    assert (state(engine, "a"), state(engine, "b")) == before
    assert reaches(engine, "b", "a")


def test_after_stop_and_start_the_pair_is_whole(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    run("a", "cable")
    run("b", "cable")
    index, _ = state(engine, "a")

    engine.stop("b", timeout_s=0)
    eventually(lambda: state(engine, "a") == (index, False))
    engine.start("b")

    assert state(engine, "a") == (index, True)
    assert reaches(engine, "a", "b")
    assert reaches(engine, "b", "a")


def test_when_one_is_made_anew_the_other_keeps_its_end(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    run("a", "cable")
    run("b", "cable")
    index, _ = state(engine, "a")

    engine.remove("b", force=True)
    assert state(engine, "a") == (index, False)
    run("other", "cable")

    assert state(engine, "a") == (index, True)
    assert reaches(engine, "a", "other")


def test_both_stop_and_start(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    run("a", "cable")
    run("b", "cable")

    for verb in (engine.stop, engine.stop):
        verb("a" if engine.container("a").state.running else "b", timeout_s=0)
    engine.start("b")
    engine.start("a")

    assert reaches(engine, "a", "b")
    assert reaches(engine, "b", "a")


def test_connect_and_disconnect(engine: Engine, run: Run, host: Box, cable: NetworkConfig) -> None:
    before = host.run("ip", "-o", "link").stdout.count("\n")
    run("a")
    run("b")
    engine.connect("cable", "a")
    engine.connect("cable", "b")
    assert reaches(engine, "a", "10.0.12.2")

    engine.disconnect("cable", "a")

    assert "eth1" not in output_of(engine, "a", "ip", "-o", "link")
    assert state(engine, "b", "eth1")[1] is False
    engine.disconnect("cable", "b")
    assert host.run("ip", "-o", "link").stdout.count("\n") <= before + 3  # two veths to the bridge, one that waits
    engine.remove_network("cable")


def test_the_world_is_not_asked_for_names(engine: Engine, run: Run, cable: NetworkConfig) -> None:
    """Who has only a link to another container cannot reach it, and neither may his questions."""
    run("a", "cable")

    code, _ = execute(engine, "a", "getent", "hosts", "example.com")

    assert code == 2


def test_its_ends_are_adopted(host: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    make_cable(first)
    run = runner(first)
    run("a", "cable")
    run("b", "cable")
    first.stop("b", timeout_s=0)
    index, _ = state(first, "a")
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    assert second._warnings == []
    assert state(second, "a") == (index, False)
    second.start("b")
    assert state(second, "a") == (index, True)
    assert reaches(second, "a", "b")
    second.stop("a", timeout_s=0)
    second.start("a")
    assert reaches(second, "b", "a")
    clean_up(second)
