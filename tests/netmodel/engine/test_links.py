"""Legacy links: a name that one container alone knows; with icc=false on the default network, the ports behind it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.engine.settings import BridgeSettings, Settings
from netmodel.errors import Conflict, Invalid, NotFound
from netmodel.model import ContainerConfig, EndpointConfig, LinkConfig, NetworkConfig, PortConfig, RestartPolicy
from tests.drivers.wires import DROPPED_S, ask, serving
from tests.netmodel.engine.conftest import SLEEP, Run, clean_up, execute, output_of, runner
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]
WEB = (PortConfig(container_port=80),)
APART = Settings(default_bridge=BridgeSettings(icc=False))


def linked(*links: str, network: str = "bridge") -> tuple[EndpointConfig, ...]:
    pairs = [text.partition(":") for text in links]
    return (
        EndpointConfig(
            network=network, links=tuple(LinkConfig(target=one, alias=alias or one) for one, _, alias in pairs)
        ),
    )


def lookup(engine: Engine, ref: str, name: str) -> list[str]:
    code, output = execute(engine, ref, "getent", "ahosts", name)
    return sorted({line.split()[0] for line in output.splitlines()}) if code == 0 else []


def address(engine: Engine, name: str) -> str:
    [endpoint] = engine.endpoints(container_id=engine.container(name).id)
    return str(endpoint.addresses[0].ip)


def box_of(engine: Engine, name: str) -> Box:
    path = engine.sandbox_path(engine.container(name).id)
    assert path is not None
    return Box.at(name, path)


@pytest.fixture
def apart(host: Box, tmp_path: Path) -> Iterator[Engine]:
    """An engine with icc=false."""
    engine = Engine(tmp_path / "root", APART)
    engine.open()
    yield engine
    clean_up(engine)


def test_names_of_a_linked_container_are_in_the_files_of_the_linking_one(engine: Engine, run: Run) -> None:
    run("svr", hostname="machine")
    run("client", networks=linked("svr:thealias", "svr"))
    run("other")
    where = address(engine, "svr")

    hosts = output_of(engine, "client", "cat", "/etc/hosts")
    assert f"{where}\tthealias machine svr\n" in hosts
    assert f"{where}\tsvr machine\n" in hosts
    assert "thealias" not in output_of(engine, "other", "cat", "/etc/hosts")
    assert lookup(engine, "client", "thealias") == [where]
    assert lookup(engine, "client", "thealias.bridge") == [where]
    assert lookup(engine, "other", "thealias") == []
    assert "SVR_" not in output_of(engine, "client", "env").upper()  # as Docker since version 29


def test_a_link_on_a_network_of_ones_own_is_another_name_for_whoever_has_the_first(engine: Engine, run: Run) -> None:
    """Docker's: in DNS alone, and looked up when asked for; the other one need not be there yet."""
    engine.create_network(NetworkConfig(name="front"))
    engine.create_network(NetworkConfig(name="back"))
    run("client", networks=(*linked("svr:db", network="front"), EndpointConfig(network="back")))
    run("other", "front")
    assert lookup(engine, "client", "db") == []

    run("svr", "front", exposed_ports=(PortConfig(container_port=5432),))

    first = address(engine, "svr")
    assert lookup(engine, "client", "db") == lookup(engine, "client", "db.front") == [first]
    assert lookup(engine, "client", "db.back") == []
    assert lookup(engine, "other", "db") == []
    assert "db" not in output_of(engine, "client", "cat", "/etc/hosts").split()
    engine.remove("svr", force=True)
    assert lookup(engine, "client", "db") == []
    run("between", "front")
    run("svr", networks=(EndpointConfig(network="front"),))
    assert lookup(engine, "client", "db") == [address(engine, "svr")]


def test_a_link_follows_renaming_restart_and_another_address(engine: Engine, run: Run) -> None:
    run("svr")
    run("client", networks=linked("svr:db"))
    first = address(engine, "svr")

    engine.rename("svr", "renamed")
    engine.restart("renamed", 0)
    assert lookup(engine, "client", "db") == [first]
    assert engine.links(engine.container("client").id) == [("renamed", "db")]

    engine.disconnect("bridge", "renamed")
    assert lookup(engine, "client", "db") == []
    run("between")
    engine.connect("bridge", "renamed", EndpointConfig(network="bridge"))
    second = address(engine, "renamed")
    assert lookup(engine, "client", "db") == [second]
    assert f"{second}\tdb " in output_of(engine, "client", "cat", "/etc/hosts")
    engine.remove("renamed", force=True)
    assert engine.links(engine.container("client").id) == []


def test_links_that_cannot_be(engine: Engine, run: Run) -> None:
    run("svr")
    run("shares", network_mode="container:svr")
    run("on-host", network_mode="host")

    def create(name: str, *links: str) -> None:
        engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=linked(*links)), name)

    with pytest.raises(Invalid, match="cannot link to nobody: no such container: nobody"):
        create("client", "nobody")
    with pytest.raises(Invalid, match="cannot link to container on-host: its network is the host's"):
        create("client", "on-host")
    create("client", "shares:db")
    engine.start("client")
    assert engine.links(engine.container("client").id) == [("svr", "db")]
    engine.stop("client", 0)
    engine.stop("svr", 0)
    with pytest.raises(Conflict, match="container svr, which client is linked to, does not run"):
        engine.start("client")
    engine.create_network(NetworkConfig(name="n"))
    engine.connect("n", "svr")
    engine.disconnect("bridge", "svr")
    engine.start("svr")
    with pytest.raises(Conflict, match="container svr, which client is linked to, is not on network bridge"):
        engine.start("client")


def test_linked_containers_reach_exposed_ports_though_all_are_kept_apart(apart: Engine) -> None:
    """TestLegacyLink, TestRemoveLegacyLink."""
    run = runner(apart)
    run("svr", exposed_ports=WEB)
    run("client", networks=linked("svr:thealias"))
    run("other")
    where = address(apart, "svr")
    svr, client, other = (box_of(apart, name) for name in ("svr", "client", "other"))

    with serving(svr), serving(svr, 81), serving(client):
        assert ask(client, where) == f"svr heard {address(apart, 'client')}"
        assert ask(client, where, 81, timeout_s=DROPPED_S) == "silence"
        assert ask(other, where, timeout_s=DROPPED_S) == "silence"
        assert ask(svr, address(apart, "client"), timeout_s=DROPPED_S) == "silence"
        with pytest.raises(NotFound, match="container client has no link nothing"):
            apart.unlink("client", "nothing")
        apart.unlink("client", "thealias")
        assert ask(client, where, timeout_s=DROPPED_S) == "silence"
    assert lookup(apart, "client", "thealias") == []
    assert "thealias" not in output_of(apart, "client", "cat", "/etc/hosts")
    assert apart.links(apart.container("client").id) == []
    assert {apart.container(name).state.status for name in ("svr", "client")} == {"running"}


def test_what_a_link_opened_follows_both_ends(apart: Engine) -> None:
    run = runner(apart)
    run("svr", exposed_ports=WEB)
    run("client", networks=linked("svr"))
    for name in ("svr", "client"):
        apart.stop(name, 0)
        apart.start(name)
        with serving(box_of(apart, "svr")):
            assert ask(box_of(apart, "client"), address(apart, "svr")).startswith("svr heard ")
    where = IPv4Address(address(apart, "svr"))
    apart.remove("svr", force=True)
    apart.create_container(
        ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="bridge", ipv4_address=where),)),
        "instead",
    )
    apart.start("instead")
    with serving(box_of(apart, "instead")):
        assert ask(box_of(apart, "client"), str(where), timeout_s=DROPPED_S) == "silence"


def test_the_next_engine_keeps_links_open(host: Box, tmp_path: Path) -> None:
    """Also after somebody flushed the ruleset while no engine was there."""
    root = tmp_path / "root"
    with Engine(root, APART) as engine:
        run = runner(engine)
        run("svr", exposed_ports=WEB)
        run("client", networks=linked("svr:db"))
    host.run("nft", "flush", "ruleset")

    engine = Engine(root, APART)
    engine.open()
    with serving(box_of(engine, "svr")):
        assert ask(box_of(engine, "client"), address(engine, "svr")).startswith("svr heard ")
        assert ask(box_of(engine, "client"), address(engine, "svr"), 81, timeout_s=DROPPED_S) != "refused"
    assert lookup(engine, "client", "db") == [address(engine, "svr")]
    clean_up(engine)


def test_linked_containers_come_back_in_their_order(engine: Engine, run: Run) -> None:
    """Who is linked waits for whom it is linked to, as long as that one is to start again."""
    always = RestartPolicy(name="always")
    run("svr", restart=always, command=("sleep", "0.2"))
    run("client", networks=linked("svr"), restart=always)
    pid = engine.container("client").state.pid

    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = engine.container("client").state
        return now.status == "running" and now.pid != pid

    eventually(back, what="the linked container's next life")
