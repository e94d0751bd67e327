"""The default network as the settings want it, and what becomes of it and its containers when they change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import ContainerConfig, NetworkConfig, PortConfig
from tests.drivers.wires import DROPPED_S, ask, serving, wire
from tests.netmodel.engine.conftest import SLEEP, clean_up, output_of, runner
from tests.support.box import Box

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]


@contextmanager
def an_engine(root: Path, settings: dict[str, Any], keep: bool = False) -> Iterator[Engine]:
    """An engine with these settings; keep leaves its containers to the next one."""
    root.mkdir(exist_ok=True)
    (root / "engine.json").write_text(json.dumps(settings))
    engine = Engine(root)
    engine.open()
    try:
        yield engine
    finally:
        if keep:
            engine.close()
        else:
            clean_up(engine)


def refused(root: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(NetmodelError, match=message) as refusal, an_engine(root, settings):
        pass
    assert refusal.value.hint


def stopped(engine: Engine, name: str) -> None:
    engine.create_container(ContainerConfig(image="host", command=SLEEP), name)


def address(engine: Engine, name: str) -> str:
    [endpoint] = engine.endpoints(container_id=engine.container(name).id)
    return str(endpoint.addresses[0])


def inside(engine: Engine, name: str, box: Boxes) -> Box:
    path = engine.sandbox_path(engine.container(name).id)
    assert path is not None
    return Box.at(name, path)


def test_every_setting_has_its_effect(host: Box, box: Boxes, tmp_path: Path) -> None:
    remote = box("remote")
    wire(host, remote)
    settings = {
        "bip": "10.40.0.9/24",
        "fixed-cidr": "10.40.0.128/25",
        "ipv6": True,
        "bip6": "fd40::9/64",
        "fixed-cidr-v6": "fd40::1:0/112",
        "ip": "127.0.0.1",
        "icc": False,
        "ip-masq": False,
        "mtu": 1400,
    }
    with an_engine(tmp_path / "root", settings) as engine:
        run = runner(engine)
        run("a", ports=(PortConfig(container_port=80, host_port=8080),))
        run("b")
        network = engine.network("bridge")
        link = f"br-{network.id[:12]}"

        shown = host.run("ip", "address", "show", link).stdout
        assert all(text in shown for text in ("10.40.0.9/24", "fd40::9/64", "mtu 1400"))
        assert address(engine, "a") == "10.40.0.128/24"
        assert "via 10.40.0.9" in output_of(engine, "a", "ip", "route")
        assert "fd40::1:" in output_of(engine, "a", "ip", "-6", "address")
        assert network.config.options == {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
            "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
            "com.docker.network.driver.mtu": "1400",
        }
        a, b = inside(engine, "a", box), inside(engine, "b", box)
        remote.run("ip", "route", "add", "10.40.0.0/24", "via", "192.0.2.1")
        with serving(a), serving(remote):
            assert ask(host, "127.0.0.1", 8080).startswith("a heard ")
            assert ask(remote, "192.0.2.1", 8080) == "refused"
            assert ask(b, "10.40.0.128", timeout_s=DROPPED_S) == "silence"
            assert ask(a, "192.0.2.2") == "remote heard 10.40.0.128"


def test_a_fixed_range_alone_is_the_subnet(host: Box, tmp_path: Path) -> None:
    """TestHostGatewayFromDocker0."""
    settings = {"fixed-cidr": "192.168.50.0/24", "ipv6": True, "fixed-cidr-v6": "fddd:6ff4:6e08::/64"}
    with an_engine(tmp_path / "root", settings) as engine:
        runner(engine)("a", extra_hosts={"hg": "host-gateway"})

        hosts = output_of(engine, "a", "grep", "hg$", "/etc/hosts")
        assert hosts.split() == ["192.168.50.1", "hg", "fddd:6ff4:6e08::1", "hg"]


def test_containers_that_do_not_run_move_with_their_network(host: Box, tmp_path: Path) -> None:
    """An address that still fits stays; so does the network's id."""
    root = tmp_path / "root"
    with an_engine(root, {"bip": "10.40.0.1/24"}, keep=True) as engine:
        stopped(engine, "a")
        stopped(engine, "b")
        assert (address(engine, "a"), address(engine, "b")) == ("10.40.0.2/24", "10.40.0.3/24")
        before = engine.network("bridge")

    with an_engine(root, {"bip": "10.40.0.2/16"}, keep=True) as engine:
        after = engine.network("bridge")
        assert after.id == before.id
        assert (address(engine, "a"), address(engine, "b")) == ("10.40.0.1/16", "10.40.0.3/16")
        assert engine.info().warnings == ()

    with an_engine(root, {"bip": "10.41.0.1/24"}) as engine:
        engine.start("b")
        assert address(engine, "b") in ("10.41.0.2/24", "10.41.0.3/24")
        assert address(engine, "b") in output_of(engine, "b", "ip", "address")
        assert "10.41.0.1/24" in host.run("ip", "address", "show", f"br-{before.id[:12]}").stdout
        assert "10.40" not in host.run("ip", "address").stdout


def test_nothing_changes_under_containers_that_run(host: Box, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with an_engine(root, {"bip": "10.40.0.1/24"}, keep=True) as engine:
        runner(engine)("a")

    with an_engine(root, {"bip": "10.41.0.1/24"}, keep=True) as engine:
        [warning] = engine.info().warnings
        assert "network bridge stays as it was, not as its settings are now: container a is on it" in warning
        assert address(engine, "a") == "10.40.0.2/24"
        engine.stop("a", 0)

    with an_engine(root, {"bip": "10.41.0.1/24"}) as engine:
        assert engine.info().warnings == ()
        engine.start("a")
        assert address(engine, "a") == "10.41.0.2/24"


def test_settings_that_cannot_be_leave_everything_as_it_was(host: Box, tmp_path: Path) -> None:
    host.run("ip", "link", "add", "v0", "type", "veth", "peer", "v1")
    host.run("ip", "link", "set", "v0", "up")
    host.run("ip", "address", "add", "10.50.0.1/24", "dev", "v0")
    root = tmp_path / "root"
    before: dict[str, Any] = {"bip": "10.40.0.1/24"}
    with an_engine(root, before, keep=True) as engine:
        stopped(engine, "a")

    refused(root, {"bip": "10.50.0.7/25"}, "10.50.0.0/25 overlaps with .*v0")
    refused(
        root, {"bip": "10.41.0.1/30", "icc": False, "default-gateway": "10.41.0.2"}, r"pool 10\.41\.0\.0/30 is full"
    )

    with an_engine(root, before) as engine:
        engine.start("a")
        assert address(engine, "a") == "10.40.0.2/24"
        assert engine.info().warnings == ()


def test_an_existing_bridge_is_used_and_kept(host: Box, box: Boxes, tmp_path: Path) -> None:
    """The address that has the range is taken for the network's; what the bridge had, it has afterwards."""
    host.run("ip", "link", "add", "lan0", "type", "bridge")
    host.run("ip", "address", "add", "10.40.0.1/24", "dev", "lan0")
    host.run("ip", "address", "add", "10.41.0.1/24", "dev", "lan0")
    host.run("ip", "link", "set", "lan0", "up")
    root = tmp_path / "root"
    with an_engine(root, {"bridge": "lan0", "fixed-cidr": "10.41.0.64/26"}, keep=True) as engine:
        stopped(engine, "a")
        assert address(engine, "a") == "10.41.0.64/24"
        assert engine.network("bridge").config.options == {"com.docker.network.bridge.name": "lan0"}

    with an_engine(root, {"bridge": "lan0"}) as engine:
        engine.start("a")
        assert address(engine, "a") == "10.40.0.2/24"
        with serving(host):
            assert ask(inside(engine, "a", box), "10.40.0.1") == "host heard 10.40.0.2"
    shown = host.run("ip", "address", "show", "lan0").stdout
    assert "10.40.0.1/24" in shown
    assert "10.41.0.1/24" in shown


def test_a_bridge_without_an_address_gets_one_until_the_end(host: Box, tmp_path: Path) -> None:
    host.run("ip", "link", "add", "lan0", "type", "bridge")
    root = tmp_path / "root"
    for _ in range(2):  # what we gave it ourselves does not count as its own
        with an_engine(root, {"bridge": "lan0"}) as engine:
            runner(engine)("a")
            assert engine.network("bridge").config.pools == ()
            assert "172.17.0.1/" in host.run("ip", "address", "show", "lan0").stdout
    assert "172.17.0.1" not in host.run("ip", "address", "show", "lan0").stdout


def test_bridges_that_cannot_be_used(host: Box, tmp_path: Path) -> None:
    """TestNoSuchExternalBridge."""
    host.run("ip", "link", "add", "v0", "type", "veth", "peer", "v1")
    host.run("ip", "link", "add", "lan0", "type", "bridge")
    host.run("ip", "address", "add", "10.40.0.1/24", "dev", "lan0")
    root = tmp_path / "root"

    refused(root, {"bridge": "lan1"}, "setting bridge=lan1: there is no such link on this host")
    refused(root, {"bridge": "v0"}, "that link is no bridge but a veth")
    refused(root, {"bridge": "lan0", "bip": "10.41.0.1/24"}, "bridge=lan0 and bip=10.41.0.1/24 exclude each other")
    refused(root, {"bridge": "lan0", "fixed-cidr": "10.41.0.0/24"}, "is not inside 10.40.0.0/24, the subnet of")
    refused(root, {"default-gateway": "10.40.0.9"}, "default-gateway=10.40.0.9: the network's subnet is not said")
    refused(root, {"bip": "10.40.0.1/24", "default-gateway": "10.41.0.9"}, "is not inside the network's subnet")
    refused(root, {"bip6": "fd40::1/64"}, "setting bip6=fd40::1/64: the default network has no IPv6")


def test_without_a_default_network_containers_have_a_loopback_alone(host: Box, tmp_path: Path) -> None:
    """TestRunContainerWithBridgeNone."""
    root = tmp_path / "root"
    with an_engine(root, {}, keep=True) as engine:
        stopped(engine, "a")
    with an_engine(root, {"bridge": "none"}, keep=True) as engine:
        [warning] = engine.info().warnings
        assert "setting bridge=none has no effect yet: container a is on network bridge" in warning
        engine.remove("a")
    with an_engine(root, {"bridge": "none"}, keep=True) as engine:
        assert [network.name for network in engine.networks()] == ["host", "none"]
        runner(engine)("b", ports=(PortConfig(container_port=80, host_port=8080),))
        assert output_of(engine, "b", "ls", "/sys/class/net").split() == ["lo"]
        assert engine.container("b").ports == ()
        engine.stop("b", 0)
        engine.start("b")
    with an_engine(root, {}) as engine:
        runner(engine)("c")
        assert "eth0" in output_of(engine, "c", "ls", "/sys/class/net")
        assert "eth0" not in output_of(engine, "b", "ls", "/sys/class/net")


def test_another_way_out_than_the_host(host: Box, tmp_path: Path) -> None:
    settings = {
        "bip": "10.40.0.1/24",
        "default-gateway": "10.40.0.254",
        "ipv6": True,
        "bip6": "fd40::1/64",
        "default-gateway-v6": "fd40::fe",
    }
    root = tmp_path / "root"
    with an_engine(root, settings, keep=True) as engine:
        runner(engine)("a", extra_hosts={"hg": "host-gateway"})
        assert "default via 10.40.0.254" in output_of(engine, "a", "ip", "route")
        assert "default via fd40::fe" in output_of(engine, "a", "ip", "-6", "route")
        assert output_of(engine, "a", "grep", "hg$", "/etc/hosts").split() == ["10.40.0.1", "hg", "fd40::1", "hg"]
    with an_engine(root, settings) as engine:  # after an engine's absence, a network that comes changes no other route
        engine.create_network(NetworkConfig(name="n", internal=True))
        engine.connect("n", "a")
        assert "default via 10.40.0.254" in output_of(engine, "a", "ip", "route")


def test_host_gateways_of_ones_own(host: Box, tmp_path: Path) -> None:
    """For who lives on the host, too; and running containers follow a new setting."""
    root = tmp_path / "root"
    with an_engine(root, {"host-gateway-ips": ["192.0.2.7", "2001:db8::7"]}, keep=True) as engine:
        run = runner(engine)
        run("a", extra_hosts={"hg": "host-gateway"})
        run("b", network_mode="host", extra_hosts={"hg": "host-gateway"})
        for name in ("a", "b"):
            assert output_of(engine, name, "grep", "hg$", "/etc/hosts").split() == [
                "192.0.2.7",
                "hg",
                "2001:db8::7",
                "hg",
            ]
    with an_engine(root, {"host-gateway-ips": ["192.0.2.8"]}) as engine:
        assert output_of(engine, "a", "grep", "hg$", "/etc/hosts").split() == ["192.0.2.8", "hg"]
