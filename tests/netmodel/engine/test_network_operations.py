"""What is done with networks as such: found, pruned, watched, and made from settings kept for it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from netmodel.engine import Engine, Event
from netmodel.errors import Conflict, Forbidden, Invalid, NetmodelError, NotFound
from netmodel.model import ContainerConfig, EndpointConfig, Network, NetworkConfig, PoolConfig
from tests.netmodel.engine.conftest import Run, output_of, runner
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel

KEPT = NetworkConfig(
    name="kept",
    config_only=True,
    labels={"tier": "front"},
    options={"com.docker.network.driver.mtu": "1400"},
    pools=(PoolConfig(subnet=IPv4Network("10.77.9.0/24"), gateway=IPv4Address("10.77.9.254")),),
)


# --- found and pruned -----------------------------------------------------------------------------


def names(engine: Engine, **filters: list[str]) -> set[str]:
    return {network.name for network in engine.networks(filters)}


def test_every_filter_of_docker_s(engine: Engine, run: Run) -> None:
    front = engine.create_network(NetworkConfig(name="front", labels={"tier": "1", "kept": ""}))
    engine.create_network(NetworkConfig(name="frontier", labels={"tier": "2"}))
    engine.create_network(NetworkConfig(name="line", driver="p2p"))
    run("web", "front")

    assert names(engine, dangling=["true"]) == {"frontier", "line"}
    assert names(engine, dangling=["false"]) == {"front", "bridge", "host", "none"}
    assert names(engine, driver=["p2p", "null"]) == {"line", "none"}
    assert names(engine, id=[front.id[:20]]) == {"front"}
    assert names(engine, label=["tier"]) == {"front", "frontier"}
    assert names(engine, label=["tier=1", "kept"]) == {"front"}
    assert names(engine, name=["front"]) == {"front", "frontier"}
    assert names(engine, name=["^front$"]) == {"front"}
    assert names(engine, name=["["]) == set()
    assert names(engine, scope=["local"]) == {"front", "frontier", "line", "bridge", "host", "none"}
    assert names(engine, scope=["swarm"]) == set()
    assert names(engine, type=["builtin"]) == {"bridge", "host", "none"}
    assert names(engine, type=["custom"], driver=["bridge"]) == {"front", "frontier"}


@pytest.mark.parametrize(
    ("name", "value"), [("colour", "red"), ("dangling", "maybe"), ("type", "odd"), ("until", "soon")]
)
def test_a_filter_that_makes_no_sense_is_refused_and_prunes_nothing(engine: Engine, name: str, value: str) -> None:
    engine.create_network(NetworkConfig(name="lan"))

    with pytest.raises(Invalid, match=value if name != "colour" else name):
        engine.networks({name: [value]})
    if name != "dangling":  # that one is prune's own
        with pytest.raises(Invalid):
            engine.prune_networks({name: [value]})
    assert names(engine, name=["lan"]) == {"lan"}


def test_prune_takes_only_what_fits(engine: Engine, run: Run) -> None:
    for name, labels in (("a", {"old": "1"}), ("b", {"old": "1", "keep": "1"}), ("c", {}), ("used", {"old": "1"})):
        engine.create_network(NetworkConfig(name=name, labels=labels))
    run("web", "used")

    assert engine.prune_networks({"until": ["1h"]}) == []
    assert engine.prune_networks({"label": ["old"], "label!": ["keep"]}) == ["a"]
    assert engine.prune_networks({"label": ["old=1"], "until": ["0s"]}) == ["b"]
    assert engine.prune_networks() == ["c"]


def test_prune_leaves_settings_alone(engine: Engine) -> None:
    engine.create_network(KEPT)

    assert engine.prune_networks() == []
    assert engine.network("kept").config.config_only


# --- watched --------------------------------------------------------------------------------------


def test_every_change_is_told(engine: Engine, run: Run) -> None:
    listening = engine.events.subscribe()

    engine.create_network(NetworkConfig(name="lan"))
    engine.create_network(NetworkConfig(name="more"))
    web = run("web", "lan")
    engine.connect("more", "web")
    engine.disconnect("more", "web")
    engine.restart("web", timeout_s=0)
    engine.stop("web", timeout_s=0)
    engine.remove_network("more")
    engine.remove("web")
    engine.prune_networks()

    told: list[Event] = []
    while not told or told[-1].action != "prune":
        event = listening.get(5)
        if event.type == "network":
            told.append(event)
    assert [(event.action, event.attributes.get("name")) for event in told] == [
        ("create", "lan"),
        ("create", "more"),
        ("connect", "lan"),
        ("connect", "more"),
        ("disconnect", "more"),
        ("disconnect", "lan"),  # stopped: a restart alone moves no link
        ("destroy", "more"),
        ("destroy", "lan"),
        ("prune", None),
    ]
    assert {event.attributes["container"] for event in told if "connect" in event.action} == {web.id}


# --- settings kept for others ---------------------------------------------------------------------


def test_a_network_takes_its_settings_from_another(engine: Engine, run: Run, host: Box) -> None:
    kept = engine.create_network(KEPT)
    assert (kept.config.driver, kept.pools) == ("null", ())
    assert "10.77.9" not in host.run("ip", "addr").stdout  # settings alone: nothing of it is on the host

    made = engine.create_network(NetworkConfig(name="lan", config_from=kept.id[:12], internal=True))

    assert made.config == replace(KEPT, name="lan", config_only=False, config_from="kept", internal=True)
    run("web", "lan")
    assert "mtu 1400" in output_of(engine, "web", "ip", "link", "show", "eth0")
    assert "10.77.9.1/24" in output_of(engine, "web", "ip", "addr", "show", "eth0")


def test_settings_stay_while_a_network_has_them(engine: Engine) -> None:
    engine.create_network(KEPT)
    engine.create_network(NetworkConfig(name="lan", config_from="kept"))

    with pytest.raises(Conflict, match="has the settings of: lan"):
        engine.remove_network("kept")

    engine.remove_network("lan")
    engine.remove_network("kept")
    with pytest.raises(NotFound):
        engine.network("kept")


def test_nobody_is_on_settings_alone(engine: Engine, run: Run) -> None:
    engine.create_network(KEPT)
    run("web")

    with pytest.raises(Forbidden, match="nobody can be on it"):
        engine.connect("kept", "web")
    with pytest.raises(Forbidden, match="nobody can be on it"):
        engine.create_container(ContainerConfig(image="host", networks=(EndpointConfig(network="kept"),)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(KEPT, name="x", internal=True), "cannot be internal"),
        (replace(KEPT, name="x", attachable=True), "cannot be attachable"),
        (replace(KEPT, name="x", config_from="kept"), "cannot take them"),
        (NetworkConfig(name="x", config_from="nosuch"), "no such network: nosuch"),
        (NetworkConfig(name="x", config_from="bridge"), "is not settings alone"),
        (NetworkConfig(name="x", config_from="kept", labels={"a": "b"}), "cannot ask for labels"),
        (NetworkConfig(name="x", config_from="kept", options={"a": "b"}), "cannot ask for driver options"),
        (NetworkConfig(name="x", config_from="kept", pools=KEPT.pools), "cannot ask for subnets"),
        (NetworkConfig(name="x", config_from="kept", enable_ipv6=True), "cannot ask for IPv6"),
        (NetworkConfig(name="x", config_from="wrong"), "speed"),
    ],
)
def test_settings_that_contradict_each_other(engine: Engine, config: NetworkConfig, message: str) -> None:
    engine.create_network(KEPT)
    engine.create_network(NetworkConfig(name="wrong", config_only=True, options={"speed": "9"}))
    before = engine.networks()

    with pytest.raises(NetmodelError, match=message):
        engine.create_network(config)

    assert engine.networks() == before


def test_settings_are_there_after_a_restart(host: Box, tmp_path: Path) -> None:
    def kinds(engine: Engine) -> list[Network]:
        return [engine.network(name) for name in ("kept", "lan")]

    with Engine(tmp_path / "root") as first:
        first.create_network(KEPT)
        first.create_network(NetworkConfig(name="lan", config_from="kept"))
        before = kinds(first)
    with Engine(tmp_path / "root") as second:
        assert kinds(second) == before
        web = runner(second)("web", "lan")
        assert "10.77.9.1/24" in output_of(second, "web", "ip", "addr", "show", "eth0")
        second.remove(web.id, force=True)


def test_two_networks_are_not_one_bridge(engine: Engine, host: Box) -> None:
    """They would be one segment; and the first to go would take the other's rules along."""
    host.run("ip", "link", "add", "lan0", "type", "bridge")
    options = {"com.docker.network.bridge.name": "lan0"}
    engine.create_network(NetworkConfig(name="one", options=options))

    with pytest.raises(Conflict, match="network one is on the host's link lan0 already") as refused:
        engine.create_network(NetworkConfig(name="two", options=options))

    assert "another bridge (com.docker.network.bridge.name)" in refused.value.hint
    engine.remove_network("one")
    engine.create_network(NetworkConfig(name="two", options=options))
