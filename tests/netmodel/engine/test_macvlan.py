"""Containers on the network of a link of the host."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, ip_interface
from pathlib import Path

import pytest

from drivers.kernel.address import add_address
from drivers.kernel.link import set_up
from drivers.kernel.netlink import Netlink
from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import EndpointConfig, NetworkConfig, PoolConfig
from tests.drivers.parents import stand_outside
from tests.netmodel.engine.conftest import Run, clean_up, execute, output_of, runner
from tests.support.box import Box

pytestmark = pytest.mark.kernel

LAN = PoolConfig(subnet=IPv4Network("10.5.0.0/24"), gateway=IPv4Address("10.5.0.254"))


@pytest.fixture
def outside(host: Box, box: Callable[[str], Box]) -> Box:
    """The router of the parent's network, at 10.5.0.254; the host is on it, too."""
    made = box("outside")
    stand_outside(host, made)
    with Netlink(host.path) as netlink:
        netlink.apply([add_address(netlink.index("parent"), ip_interface("10.5.0.253/24")), set_up("parent")])
    return made


def make_lan(engine: Engine, **config: object) -> None:
    wanted = {"name": "lan", "driver": "macvlan", "options": {"parent": "parent"}, "pools": (LAN,), **config}
    engine.create_network(NetworkConfig(**wanted))  # type: ignore[arg-type]


def reaches(engine: Engine, source: str, target: str) -> bool:
    return execute(engine, source, "ping", "-c1", "-W1", target)[0] == 0


def test_a_container_is_a_neighbour_on_the_parents_network(outside: Box, engine: Engine, run: Run) -> None:
    """Whose subnet the host knows, of course: it is on it itself."""
    make_lan(engine)

    run("web", "lan")
    run("user", "lan")

    assert reaches(engine, "user", "web")
    assert reaches(engine, "user", "10.5.0.254")
    assert output_of(engine, "web", "ip", "route", "show", "default").startswith("default via 10.5.0.254 dev eth0 ")
    assert outside.run("ping", "-c1", "-W1", "10.5.0.1", check=False).returncode == 0


def test_settings_kept_for_it_are_its_own_driver_s(outside: Box, engine: Engine, run: Run) -> None:
    make_lan(engine, name="kept", config_only=True)
    make_lan(engine, config_from="kept", options={}, pools=())

    run("web", "lan")

    assert reaches(engine, "web", "10.5.0.254")


def test_endpoint_with_custom_ifname(outside: Box, engine: Engine, run: Run) -> None:
    make_lan(engine)
    wish = EndpointConfig(network="lan", driver_opts={"com.docker.network.endpoint.ifname": "foobar"})

    run("web", networks=(wish,))

    assert ": foobar@if" in output_of(engine, "web", "ip", "-o", "link", "show", "foobar")


def test_its_own_mac_stays_over_stop_and_start(outside: Box, engine: Engine, run: Run) -> None:
    make_lan(engine)
    run("web", networks=(EndpointConfig(network="lan", mac_address="02:00:00:00:05:01"),))

    engine.stop("web", timeout_s=0)
    assert outside.run("ping", "-c1", "-W1", "10.5.0.1", check=False).returncode == 1  # nobody answers for it
    engine.start("web")

    assert "02:00:00:00:05:01" in output_of(engine, "web", "ip", "link", "show", "eth0")
    assert "gone" not in output_of(engine, "web", "ip", "-o", "link")
    assert outside.run("ping", "-c1", "-W1", "10.5.0.1", check=False).returncode == 0


def test_connect_and_disconnect(outside: Box, engine: Engine, run: Run) -> None:
    make_lan(engine)
    run("web")

    engine.connect("lan", "web", EndpointConfig(network="lan", gw_priority=1))
    assert "default via 10.5.0.254 dev eth1" in output_of(engine, "web", "ip", "route")
    engine.disconnect("lan", "web")

    links = output_of(engine, "web", "ip", "-o", "link").splitlines()
    assert len(links) == 2
    assert "dev eth0" in output_of(engine, "web", "ip", "route", "show", "default")


def test_point_to_point(engine: Engine, run: Run) -> None:
    """Where no address is kept for a gateway, a subnet of two addresses is enough."""
    make_lan(engine, options={}, internal=True, pools=(PoolConfig(subnet=IPv4Network("192.168.135.0/31")),))

    run("a", "lan")
    run("b", "lan")

    assert reaches(engine, "a", "192.168.135.1")
    assert reaches(engine, "b", "192.168.135.0")


def test_one_link_is_the_parent_of_one_network(outside: Box, engine: Engine) -> None:
    """Two would be one segment, whatever their names say."""
    make_lan(engine)

    with pytest.raises(NetmodelError, match="network lan is on the host's link parent already") as taken:
        make_lan(engine, name="other", pools=())

    assert taken.value.kind == "conflict"
    assert "parent.NUMBER" in taken.value.hint
    engine.remove_network("lan")
    make_lan(engine, name="other")


def test_passthru_has_the_parents_mac_and_the_parent_for_itself(
    outside: Box, engine: Engine, run: Run, host: Box
) -> None:
    make_lan(engine, options={"parent": "parent", "macvlan_mode": "passthru"})
    with pytest.raises(NetmodelError, match="the MAC address of its parent link, not 02:00:00:00:00:01") as refused:
        run("web", networks=(EndpointConfig(network="lan", mac_address="02:00:00:00:00:01"),))
    assert refused.value.kind == "invalid"
    run("web", "lan")

    with pytest.raises(NetmodelError, match="cannot attach to network lan") as taken:
        run("other", "lan")

    assert taken.value.kind == "conflict"
    [endpoint] = engine.endpoints(container_id=engine.container("web").id)
    assert endpoint.mac == ""
    with Netlink(host.path) as netlink:
        parent = netlink.link("parent")
    assert parent is not None
    assert parent.mac in output_of(engine, "web", "ip", "link", "show", "eth0")
    assert reaches(engine, "web", "10.5.0.254")


def test_what_this_kernel_lacks_is_refused_and_leaves_nothing(outside: Box, engine: Engine, host: Box) -> None:
    before = host.run("ip", "-o", "link").stdout

    with pytest.raises(NetmodelError, match="this kernel has no ipvlan links") as refused:
        engine.create_network(NetworkConfig(name="lan", driver="ipvlan", options={"parent": "parent"}))

    assert refused.value.kind == "missing_feature"
    assert sorted(one.name for one in engine.networks()) == ["bridge", "host", "none"]
    assert host.run("ip", "-o", "link").stdout == before


def test_its_links_are_adopted(host: Box, outside: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    make_lan(first)
    make_lan(first, name="inner", options={}, pools=())
    runner(first)("web", "lan", "inner")
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    assert second._warnings == []
    assert reaches(second, "web", "10.5.0.254")
    second.disconnect("inner", "web")
    assert "default via 10.5.0.254 dev eth0" in output_of(second, "web", "ip", "route")
    second.stop("web", timeout_s=0)
    second.start("web")
    assert reaches(second, "web", "10.5.0.254")
    clean_up(second)
