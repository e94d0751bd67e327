"""Networks, and containers that join and leave them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Conflict, Forbidden, Invalid, NetmodelError, NotFound
from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig, PoolConfig, PortConfig, RouteConfig
from tests.netmodel.engine.conftest import SLEEP, Run, execute, output_of
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def subnet(text: str) -> tuple[PoolConfig, ...]:
    return (PoolConfig(subnet=IPv4Network(text)),)


def reaches(engine: Engine, source: str, target: str) -> bool:
    return execute(engine, source, "ping", "-c1", "-W1", target)[0] == 0


def test_predefined_networks_are_there_and_stay(engine: Engine) -> None:
    assert {network.name: network.config.driver for network in engine.networks()} == {
        "bridge": "bridge",
        "host": "host",
        "none": "null",
    }
    for name in ("bridge", "host", "none"):
        with pytest.raises(Forbidden):
            engine.remove_network(name)
        with pytest.raises(Forbidden):
            engine.create_network(NetworkConfig(name=name))


@pytest.mark.whole_kernel
def test_members_find_each_other_by_name_and_strangers_do_not(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="front"))
    engine.create_network(NetworkConfig(name="back"))
    run("web", "front", "back")
    run("user", "front")
    run("db", "back")

    assert reaches(engine, "user", "web")
    assert reaches(engine, "web", "db")
    assert execute(engine, "user", "getent", "hosts", "db")[0] == 2
    [db] = engine.endpoints(container_id=engine.container("db").id)
    assert not reaches(engine, "user", str(db.addresses[0].ip))


def test_a_setting_of_the_host_that_was_changed_is_told(engine: Engine) -> None:
    assert any("net.ipv4.ip_forward" in warning for warning in engine.info().warnings)


def test_a_network_in_use_is_not_removed(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    run("web", "lan")

    with pytest.raises(Conflict, match="active endpoints: web"):
        engine.remove_network("lan")

    engine.remove("web", force=True)
    engine.remove_network("lan")
    with pytest.raises(NotFound):
        engine.network("lan")


def test_a_subnet_that_overlaps_names_both(engine: Engine, host: Box) -> None:
    engine.create_network(NetworkConfig(name="lan", pools=subnet("10.9.0.0/24")))
    host.run("ip", "link", "add", "uplink", "type", "veth")
    host.run("ip", "addr", "add", "192.0.2.1/24", "dev", "uplink")
    host.run("ip", "link", "set", "uplink", "up")
    before = engine.networks()

    with pytest.raises(NetmodelError, match=r"10\.9\.0\.0/16.*10\.9\.0\.0/24") as overlap:
        engine.create_network(NetworkConfig(name="wide", pools=subnet("10.9.0.0/16")))
    assert overlap.value.kind == "forbidden"  # as Docker has it
    assert "network lan" in str(overlap.value)
    with pytest.raises(NetmodelError, match=r"192\.0\.2\.0/25.*192\.0\.2\.0/24"):
        engine.create_network(NetworkConfig(name="hidden", pools=subnet("192.0.2.0/25")))

    assert engine.networks() == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(name="x", driver="carrier-pigeon"), "carrier-pigeon"),
        (NetworkConfig(name="x", options={"com.example.speed": "9"}), "com.example.speed"),
        (NetworkConfig(name="x", ipam_driver="dhpc"), "no such IPAM driver: dhpc"),
        (NetworkConfig(name="bad name"), "bad name"),
        (NetworkConfig(name="x", enable_ipv4=False), "neither IPv4 nor IPv6"),
        (NetworkConfig(name="x", pools=(PoolConfig(subnet=IPv6Network("fd00:9::/64")),)), "IPv6 is off"),
    ],
)
def test_mistakes_change_nothing(engine: Engine, host: Box, config: NetworkConfig, message: str) -> None:
    links = host.run("ip", "-o", "link").stdout.count("\n")

    with pytest.raises(NetmodelError, match=message) as refused:
        engine.create_network(config)

    assert refused.value.kind == "invalid"
    assert len(engine.networks()) == 3
    assert host.run("ip", "-o", "link").stdout.count("\n") == links


def test_a_fixed_address_is_reserved_before_the_container_runs(engine: Engine) -> None:
    engine.create_network(NetworkConfig(name="lan", pools=subnet("10.9.0.0/24")))
    fixed = EndpointConfig(network="lan", ipv4_address=IPv4Address("10.9.0.7"))
    engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=(fixed,)), "one")

    with pytest.raises(NetmodelError, match=r"10\.9\.0\.7"):
        engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=(fixed,)), "two")
    outside = EndpointConfig(network="lan", ipv4_address=IPv4Address("10.8.0.7"))
    with pytest.raises(NetmodelError, match=r"10\.8\.0\.7"):
        engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=(outside,)), "three")

    assert [one.name for one in engine.containers()] == ["one"]
    engine.remove("one")
    engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=(fixed,)), "two")


def test_interfaces_come_in_the_order_declared(engine: Engine, run: Run) -> None:
    for name in ("c", "a", "b"):
        engine.create_network(NetworkConfig(name=name))
    networks = (
        EndpointConfig(network="c"),
        EndpointConfig(network="a", interface_name="wan0"),
        EndpointConfig(network="b"),
    )
    run("router", networks=networks)

    joined = engine.endpoints(container_id=engine.container("router").id)

    assert [engine.network(one.network_id).name for one in joined] == ["c", "a", "b"]
    assert [one.interface for one in joined] == ["eth0", "wan0", "eth1"]
    for endpoint in joined:
        shown = output_of(engine, "router", "ip", "-o", "-4", "addr", "show", endpoint.interface)
        assert str(endpoint.addresses[0]) in shown


def test_the_default_route_goes_by_priority_then_by_name(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="a-inside", internal=True))
    engine.create_network(NetworkConfig(name="c", pools=subnet("10.3.0.0/24")))
    engine.create_network(NetworkConfig(name="b", pools=subnet("10.2.0.0/24")))

    run("plain", "a-inside", "c", "b")
    run("chosen", networks=(EndpointConfig(network="b"), EndpointConfig(network="c", gw_priority=1)))
    run("inside", "a-inside")

    def default(name: str) -> str:
        return output_of(engine, name, "ip", "route", "show", "default")

    assert "via 10.2.0.1" in default("plain")
    assert "via 10.3.0.1" in default("chosen")
    assert default("inside") == ""


@pytest.mark.whole_kernel
def test_connect_and_disconnect_a_running_container(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="first", pools=subnet("10.5.0.0/24")))
    engine.create_network(NetworkConfig(name="again", pools=subnet("10.6.0.0/24")))
    run("web", "first")
    run("friend", "again")
    address = IPv4Address("10.6.0.9")

    endpoint = engine.connect("again", "web", EndpointConfig(network="again", ipv4_address=address, aliases=("www",)))

    assert endpoint.interface == "eth1"
    assert "10.6.0.9/24" in output_of(engine, "web", "ip", "-o", "addr", "show", "eth1")
    assert "10.6.0.9" in output_of(engine, "web", "cat", "/etc/hosts")
    assert "via 10.6.0.1" in output_of(engine, "web", "ip", "route", "show", "default")  # "again" sorts first
    assert reaches(engine, "friend", "www")
    assert reaches(engine, "web", "friend")

    engine.disconnect("again", "web")

    assert "eth1" not in output_of(engine, "web", "ip", "-o", "-4", "addr")
    assert "10.6.0.9" not in output_of(engine, "web", "cat", "/etc/hosts")
    assert "via 10.5.0.1" in output_of(engine, "web", "ip", "route", "show", "default")
    assert execute(engine, "friend", "getent", "hosts", "www")[0] == 2
    assert engine.connect("again", "web").interface == "eth1"


def test_a_stopped_container_is_connected_when_it_starts(engine: Engine) -> None:
    engine.create_network(NetworkConfig(name="one"))
    engine.create_network(NetworkConfig(name="two"))
    engine.create_container(
        ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="one"),)), "web"
    )

    engine.connect("two", "web")
    with pytest.raises(Conflict, match="already"):
        engine.connect("two", "web")
    engine.start("web")

    assert "eth1" in output_of(engine, "web", "ip", "-o", "-4", "addr")


def test_static_routes_are_set_and_checked(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="lan", pools=subnet("10.7.0.0/24")))
    via = IPv4Address("10.7.0.99")
    routes = (
        RouteConfig(destination=IPv4Network("0.0.0.0/0"), via=via),
        RouteConfig(destination=IPv4Network("10.70.0.0/16"), via=via),
        RouteConfig(destination=IPv4Network("10.71.0.0/16"), dev="eth0"),
    )
    run("host1", "lan", routes=routes)

    shown = output_of(engine, "host1", "ip", "route")

    assert "default via 10.7.0.99 dev eth0" in shown
    assert "10.70.0.0/16 via 10.7.0.99 dev eth0" in shown
    assert "10.71.0.0/16 dev eth0" in shown
    with pytest.raises(Invalid, match=r"no network of the container reaches 10\.8\.0\.1"):
        run("host2", "lan", routes=(RouteConfig(destination=IPv4Network("10.70.0.0/16"), via=IPv4Address("10.8.0.1")),))


def test_both_families_are_usable_at_once(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="dual", enable_ipv6=True))
    run("one", "dual")
    run("two", "dual")

    assert execute(engine, "one", "ping", "-6", "-c1", "-W1", "two")[0] == 0
    assert execute(engine, "one", "ping", "-4", "-c1", "-W1", "two")[0] == 0
    assert "tentative" not in output_of(engine, "one", "ip", "-6", "addr", "show", "eth0", "scope", "global")
    assert output_of(engine, "one", "ip", "-6", "route", "show", "default")


def test_none_is_a_loopback_and_nothing_else(engine: Engine, run: Run) -> None:
    run("alone", network_mode="none")

    links = output_of(engine, "alone", "ip", "-o", "link").splitlines()

    assert [line.split(":")[1].strip() for line in links] == ["lo"]
    assert "LOOPBACK,UP" in links[0]
    with pytest.raises(Conflict, match="none"):
        engine.connect("bridge", "alone")


def test_host_is_the_hosts_own_network(engine: Engine, run: Run, host: Box) -> None:
    host.run("ip", "link", "add", "witness", "type", "bridge")

    run("inside", network_mode="host")

    assert "witness" in output_of(engine, "inside", "ip", "-o", "link")
    assert output_of(engine, "inside", "cat", "/etc/resolv.conf") == Path("/etc/resolv.conf").read_text()


def test_a_shared_network_is_one_sandbox(engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netmodel.engine.removal._MOMENT_S", 0.1)
    engine.create_network(NetworkConfig(name="lan"))
    owner = run("owner", "lan", hostname="boss")
    sharer = run("sharer", network_mode="container:owner")

    assert sharer.sandbox == owner.id
    for name in ("owner", "sharer"):
        assert output_of(engine, name, "readlink", "/proc/self/ns/net") == output_of(
            engine, "owner", "readlink", "/proc/self/ns/net"
        )
    assert output_of(engine, "sharer", "cat", "/etc/hosts") == output_of(engine, "owner", "cat", "/etc/hosts")
    with pytest.raises(Conflict, match="lends its network to sharer"):
        engine.remove("owner", force=True)
    engine.stop("owner")
    assert "eth0" in output_of(engine, "sharer", "ip", "-o", "-4", "addr")
    engine.stop("sharer")
    with pytest.raises(Conflict, match="does not run"):
        engine.start("sharer")


@pytest.mark.whole_kernel
def test_ports_are_published_while_it_runs(engine: Engine, run: Run, host: Box) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    serve = ("python3", "-m", "http.server", "80", "--directory", "/etc/apt")
    port = PortConfig(container_port=80)
    web = run("web", "lan", command=serve, ports=(port,), stop_timeout_s=0)

    [published] = web.ports
    assert published.host_port > 0
    fetch = ("curl", "-s", "-o", "/dev/null", "--retry", "20", "--retry-delay", "0", "--retry-all-errors", "-m", "5")
    host.run(*fetch, f"http://127.0.0.1:{published.host_port}/")

    engine.stop("web")

    assert engine.container("web").ports == ()
    assert host.run("curl", "-s", "-m", "2", f"http://127.0.0.1:{published.host_port}/", check=False).returncode != 0


def test_a_port_in_use_says_by_whom_and_starts_nothing(engine: Engine, run: Run, host: Box) -> None:
    engine.create_network(NetworkConfig(name="lan"))
    port = PortConfig(container_port=80, host_port=8099)
    run("first", "lan", ports=(port,))

    with pytest.raises(NetmodelError, match="8099"):
        run("second", "lan", ports=(port,))

    second = engine.container("second")
    assert second.state.status == "created"
    assert "8099" in second.state.error
    assert len(engine._core.spawner.status()) == 1


def test_published_ports_follow_the_default_gateway(engine: Engine, run: Run, host: Box) -> None:
    engine.create_network(NetworkConfig(name="b"))
    engine.create_network(NetworkConfig(name="a"))
    serve = ("python3", "-m", "http.server", "80", "--directory", "/etc/apt")
    run("web", "b", command=serve, ports=(PortConfig(container_port=80, host_port=8098),), stop_timeout_s=0)
    fetch = ("curl", "-s", "-o", "/dev/null", "--retry", "20", "--retry-delay", "0", "--retry-all-errors", "-m", "5")

    engine.connect("a", "web")
    host.run(*fetch, "http://127.0.0.1:8098/")
    engine.disconnect("a", "web")
    host.run(*fetch, "http://127.0.0.1:8098/")

    assert [port.host_port for port in engine.container("web").ports] == [8098]


def test_prune_removes_what_nobody_uses(engine: Engine, run: Run) -> None:
    engine.create_network(NetworkConfig(name="used"))
    engine.create_network(NetworkConfig(name="unused"))
    run("web", "used")

    assert engine.prune_networks() == ["unused"]
    assert {network.name for network in engine.networks()} == {"bridge", "host", "none", "used"}
