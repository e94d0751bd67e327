"""Addresses: where they come from, who holds them, and that nothing loses them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import Container, ContainerConfig, Endpoint, EndpointConfig, NetworkConfig, PoolConfig
from tests.netmodel.engine.conftest import SLEEP, Run, clean_up, execute, output_of, runner
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.daemon import running

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def pool(subnet: str, ip_range: str | None = None) -> tuple[PoolConfig, ...]:
    return (PoolConfig(subnet=ip_network(subnet), ip_range=ip_network(ip_range) if ip_range else None),)


def create(engine: Engine, name: str, *networks: EndpointConfig) -> Endpoint:
    """A container that never runs, and its only attachment."""
    container = engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=networks), name)
    return engine.endpoints(container.id)[0]


# --- pools --------------------------------------------------------------------------------------


def test_a_subnet_of_any_size(engine: Engine) -> None:
    """Docker's 0.0.0.0/28 and ::/80 arrive as sizes."""
    wishes = (PoolConfig(size=28), PoolConfig(size=80, family=6))
    first = engine.create_network(NetworkConfig(name="first", enable_ipv6=True, pools=wishes))
    second = engine.create_network(NetworkConfig(name="second", enable_ipv6=True, pools=wishes))

    found = [pool.subnet for network in (first, second) for pool in network.pools]
    assert [subnet.prefixlen for subnet in found] == [28, 80, 28, 80]
    assert len(set(found)) == 4
    assert found[0].subnet_of(IPv4Network("172.16.0.0/12"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (PoolConfig(size=0), "/0 is no size"),
        (PoolConfig(size=33), "/33 is no size"),
        (PoolConfig(size=24, gateway=IPv4Address("10.0.0.1")), "has no subnet to lie in"),
        (PoolConfig(size=64, family=6), "asks for a subnet, but IPv6 is off"),
    ],
)
def test_sizes_that_cannot_be(engine: Engine, wish: PoolConfig, message: str) -> None:
    with pytest.raises(NetmodelError, match=message) as refused:
        engine.create_network(NetworkConfig(name="x", pools=(wish,)))

    assert refused.value.kind == "invalid"
    assert len(engine.networks()) == 3


def test_ipv6_defaults_to_a_unique_local_prefix_of_this_host(engine: Engine, host: Box, tmp_path: Path) -> None:
    """One /48 an engine, so that several may be routed to one another; a /64 a network."""

    def subnets(where: Engine) -> list[IPv6Network]:
        made = [where.create_network(NetworkConfig(name=name, enable_ipv6=True)) for name in ("a", "b")]
        return [pool.subnet for one in made for pool in one.pools if isinstance(pool.subnet, IPv6Network)]

    other = Engine(tmp_path / "other")
    other.open()
    ours, theirs = subnets(engine), subnets(other)
    for name in ("a", "b"):
        other.remove_network(name)
    clean_up(other)

    assert all(subnet.subnet_of(IPv6Network("fd00::/8")) and subnet.prefixlen == 64 for subnet in ours + theirs)
    assert len({subnet.supernet(new_prefix=48) for subnet in ours}) == 1
    assert not ours[0].supernet(new_prefix=48).overlaps(theirs[0].supernet(new_prefix=48))


@pytest.mark.parametrize(
    ("subnet", "ip_range"),
    [
        ("fda9:8d04:86e::/64", "fda9:8d04:86e::ffff:ffff:ffff:ff0e/127"),
        ("fda9:8d04:86e::/64", "fda9:8d04:86e::ffff:ffff:ffff:fffe/127"),
        ("fda9:8d04:86e::/56", "fda9:8d04:86e:aa:ffff:ffff:ffff:fffe/127"),
        ("fda9:8d04:86e::/48", "fda9:8d04:86e:1::/64"),
    ],
)
def test_ip_range_at_the_64_bit_limit(engine: Engine, subnet: str, ip_range: str) -> None:
    engine.create_network(NetworkConfig(name="six", enable_ipv4=False, enable_ipv6=True, pools=pool(subnet, ip_range)))

    taken = [create(engine, name, EndpointConfig(network="six")).addresses[0].ip for name in ("one", "two")]

    wanted = IPv6Network(ip_range)
    assert taken == [wanted[0], wanted[1]]
    if wanted.num_addresses == 2:
        with pytest.raises(NetmodelError, match="is full"):
            create(engine, "three", EndpointConfig(network="six"))


def test_usage_follows_every_address(engine: Engine) -> None:
    wishes = (PoolConfig(subnet=IPv4Network("10.21.0.0/24"), ip_range=IPv4Network("10.21.0.128/25")),)
    engine.create_network(NetworkConfig(name="lan", pools=wishes))

    def figures() -> tuple[int, int, int]:
        [(_, usage)] = engine.usage("lan")
        return usage.in_use, usage.available, usage.special

    assert figures() == (1, 127, 2)  # the gateway; the broadcast address is no one's
    create(engine, "dynamic", EndpointConfig(network="lan"))
    create(engine, "static", EndpointConfig(network="lan", ipv4_address=IPv4Address("10.21.0.7")))
    assert figures() == (3, 126, 2)
    engine.remove("dynamic")
    engine.remove("static")
    assert figures() == (1, 127, 2)


def test_a_network_whose_addresses_are_not_ours(engine: Engine, run: Run) -> None:
    """IPAM driver null: a segment, and what its members configure themselves."""
    network = engine.create_network(NetworkConfig(name="bare", ipam_driver="null", enable_ipv6=True))
    assert network.pools == ()
    for name, address in (("one", "192.0.2.1/24"), ("two", "192.0.2.2/24")):
        run(name, "bare", cap_add=("NET_ADMIN",))
        assert engine.endpoints(engine.container(name).id)[0].addresses == ()
        assert "inet" not in output_of(engine, name, "ip", "-o", "addr", "show", "eth0")
        output_of(engine, name, "ip", "addr", "add", address, "dev", "eth0")

    assert execute(engine, "one", "ping", "-c1", "-W1", "192.0.2.2")[0] == 0
    with pytest.raises(NetmodelError, match="no IPv4 subnet"):
        create(engine, "three", EndpointConfig(network="bare", ipv4_address=IPv4Address("192.0.2.3")))
    with pytest.raises(NetmodelError, match="hands out no addresses"):
        engine.create_network(NetworkConfig(name="x", ipam_driver="null", pools=pool("10.0.0.0/24")))


def test_an_option_that_the_ipam_driver_does_not_have(engine: Engine) -> None:
    for driver in ("default", "null"):
        with pytest.raises(NetmodelError, match=f"IPAM driver {driver} has no option 'speed'"):
            engine.create_network(NetworkConfig(name="x", ipam_driver=driver, ipam_options={"speed": "9"}))


def test_link_local_addresses_are_of_the_link_alone(engine: Engine, run: Run) -> None:
    """Beside those of the pools, before and after a stop; names do not lead to them."""
    engine.create_network(NetworkConfig(name="lan", internal=True, enable_ipv6=True))
    for number in (1, 2):
        wanted = (IPv4Address(f"169.254.7.{number}"), IPv6Address(f"fe80::7:{number}"))
        run(f"c{number}", networks=(EndpointConfig(network="lan", link_local_ips=wanted),))
    engine.stop("c1", 0)
    engine.start("c1")

    assert execute(engine, "c1", "ping", "-c1", "-W2", "-I", "169.254.7.1", "169.254.7.2")[0] == 0
    assert execute(engine, "c1", "ping", "-c1", "-W2", "fe80::7:2%eth0")[0] == 0
    shown = output_of(engine, "c1", "ip", "-o", "addr", "show", "eth0")
    assert "169.254.7.1/16" in shown
    assert "fe80::7:1/64" in shown
    assert "169.254" not in output_of(engine, "c1", "getent", "ahostsv4", "c2")
    assert "169.254" not in output_of(engine, "c1", "cat", "/etc/hosts")
    with pytest.raises(NetmodelError, match=r"10\.0\.0\.1 is no link-local address"):
        create(engine, "c3", EndpointConfig(network="lan", link_local_ips=(IPv4Address("10.0.0.1"),)))


OFF = {"net.ipv6.conf.all.disable_ipv6": "1"}
OWN = {"com.docker.network.endpoint.sysctls": "net.ipv6.conf.IFNAME.disable_ipv6=1"}


@pytest.mark.parametrize("way", ["container", "endpoint"])
def test_who_turns_ipv6_off_has_none(engine: Engine, run: Run, way: str) -> None:
    """TestDisableIPv6OnInterface: it starts on a network that has both, without an address that is none."""
    engine.create_network(NetworkConfig(name="dual", enable_ipv6=True))
    engine.create_network(NetworkConfig(name="six", enable_ipv4=False, enable_ipv6=True))
    sysctls, options = (OFF, {}) if way == "container" else ({}, OWN)

    run("a", networks=(EndpointConfig(network="dual", driver_opts=options),), sysctls=sysctls)
    run("b", "dual")

    assert output_of(engine, "a", "ip", "-6", "-o", "addr", "show", "dev", "eth0") == ""
    assert [address.version for address in engine.endpoints(engine.container("a").id)[0].addresses] == [4]
    assert ":" not in output_of(engine, "b", "getent", "ahosts", "a")
    assert execute(engine, "b", "ping", "-c1", "-W2", "a")[0] == 0
    engine.restart("a", 0)
    for wish in (EndpointConfig(network="six"), EndpointConfig(network="dual", ipv6_address=IPv6Address("fd00::9"))):
        networks = (replace(wish, driver_opts=options),)
        config = ContainerConfig(image="host", command=SLEEP, networks=networks, sysctls=sysctls)
        with pytest.raises(NetmodelError, match="a sysctl of the container turns IPv6 off"):
            engine.create_container(config, "c")


# --- what is held -------------------------------------------------------------------------------


def reserved(engine: Engine, name: str) -> tuple[str, ...]:
    [endpoint] = engine.endpoints(engine.container(name).id)
    return (endpoint.mac, *map(str, endpoint.addresses))


def actual(engine: Engine, name: str) -> tuple[str, ...]:
    """What the kernel says of eth0 in there."""
    link = output_of(engine, name, "cat", "/sys/class/net/eth0/address").strip()
    lines = output_of(engine, name, "ip", "-o", "addr", "show", "eth0", "scope", "global").splitlines()
    return (link, *(line.split()[3] for line in lines))


def static(network: str) -> EndpointConfig:
    return EndpointConfig(
        network=network,
        ipv4_address=IPv4Address("10.22.0.22"),
        ipv6_address=IPv6Address("fd22::22"),
        mac_address="02:00:00:22:00:02",
    )


@pytest.mark.parametrize("again", ["restart", "stop and start", "another engine", "reboot"])
def test_addresses_and_mac_outlive(host: Box, tmp_path: Path, again: str) -> None:
    """TestMACAddrOnRestart: what was chosen and what was given, also when others came meanwhile."""
    engine = Engine(tmp_path / "root")
    engine.open()
    pools = (*pool("10.22.0.0/24"), *pool("fd22::/64"))
    engine.create_network(NetworkConfig(name="lan", enable_ipv6=True, pools=pools))
    runner(engine)("given", "lan")
    runner(engine)("chosen", networks=(static("lan"),))
    before = {name: reserved(engine, name) for name in ("given", "chosen")}
    assert before["chosen"] == ("02:00:00:22:00:02", "10.22.0.22/24", "fd22::22/64")
    assert {name: actual(engine, name) for name in before} == before

    if again == "restart":
        engine.restart("given", 0)
        engine.restart("chosen", 0)
    else:
        for name in before:
            engine.stop(name, 0)
        if again in ("another engine", "reboot"):
            spawner = engine.spawner_pid
            engine.close()
            if again == "reboot":  # which takes the namespaces along
                os.kill(spawner, signal.SIGKILL)
            engine = Engine(tmp_path / "root")
            engine.open()
        runner(engine)("newcomer", "lan")  # takes nothing that belongs to who is stopped
        for name in reversed(before):
            engine.start(name)

    assert {name: reserved(engine, name) for name in before} == before
    assert {name: actual(engine, name) for name in before} == before
    clean_up(engine)


def test_addresses_outlive_a_killed_engine(tmp_path: Path) -> None:
    """Those of a container that runs on, and those of one that never ran."""
    with running(tmp_path) as daemon:
        daemon.ok("network", "create", "--ipv6", "lan")
        daemon.ok("run", "-d", "--name", "runs", "--network", "lan", "host", "sleep", "infinity")
        daemon.ok("create", "--name", "waits", "--network", "lan", "host", "sleep", "infinity")

        def shown(name: str) -> str:
            return daemon.ok("exec", name, "ip", "-o", "addr", "show", "eth0", "scope", "global")

        before = shown("runs")
        daemon.stop(signal.SIGKILL)
        daemon.start()
        daemon.ok("run", "-d", "--name", "later", "--network", "lan", "host", "sleep", "infinity")
        daemon.ok("start", "waits")

        assert shown("runs") == before
        inspected = [json.loads(daemon.ok("inspect", name))[0] for name in ("runs", "waits", "later")]
        addresses = [one["NetworkSettings"]["Networks"]["lan"]["IPAddress"] for one in inspected]
        assert [int(address.split(".")[-1]) for address in addresses] == [2, 3, 4]
        assert addresses[1] in shown("waits")


def test_who_was_only_created_holds_its_addresses(host: Box, tmp_path: Path) -> None:
    """For as long as it is there, whichever engine is."""
    first = Engine(tmp_path / "root")
    first.open()
    first.create_network(NetworkConfig(name="lan", pools=pool("10.22.0.0/29")))  # a gateway and five more
    held = {name: create(first, name, EndpointConfig(network="lan")).addresses[0].ip for name in ("one", "two")}
    fixed = EndpointConfig(network="lan", ipv4_address=IPv4Address("10.22.0.5"))
    held["fixed"] = create(first, "fixed", fixed).addresses[0].ip
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    others = [create(second, name, EndpointConfig(network="lan")).addresses[0].ip for name in ("three", "four")]
    assert not set(others) & set(held.values())
    with pytest.raises(NetmodelError, match="is full"):
        create(second, "five", EndpointConfig(network="lan"))
    with pytest.raises(NetmodelError, match=r"10\.22\.0\.5.*taken by container fixed"):
        create(second, "thief", fixed)
    second.remove("fixed")
    assert create(second, "heir", fixed).addresses[0].ip == held["fixed"]
    clean_up(second)


def test_networks_keep_their_subnets(host: Box, tmp_path: Path) -> None:
    """TestPreferredSubnetRestore: what was free when it was chosen is its own for good."""
    first = Engine(tmp_path / "root")
    first.open()
    made = [first.create_network(NetworkConfig(name=name, enable_ipv6=True)).pools for name in ("a", "b", "c")]
    first.remove_network("a")
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    assert [second.network(name).pools for name in ("b", "c")] == made[1:]
    assert second.create_network(NetworkConfig(name="d", enable_ipv6=True)).pools == made[0]
    clean_up(second)


# --- many at once -------------------------------------------------------------------------------

CALLERS = 16


def in_parallel(work: Callable[[str], Container], names: list[str]) -> list[Container]:
    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(work, names))


def test_two_hundred_started_in_parallel_on_four_networks(engine: Engine, run: Run) -> None:
    """Nobody is lost, no address has two owners, and the kernel has them as we say."""
    networks = [f"lan{number}" for number in range(4)]
    for name in networks:
        engine.create_network(NetworkConfig(name=name, internal=True))
    names = [f"n{number}" for number in range(200)]

    in_parallel(lambda name: run(name, networks[int(name[1:]) % 4]), names)

    taken = [address.ip for name in names for address in engine.endpoints(engine.container(name).id)[0].addresses]
    assert len(taken) == len(set(taken)) == 200
    for network in networks:
        [(subnet, usage)] = engine.usage(network)
        on_it = engine.endpoints(network_id=engine.network(network).id)
        assert usage.in_use == len(on_it) + 1 == 51
        assert all(endpoint.addresses[0].ip in subnet.subnet for endpoint in on_it)
    for name in names[::20]:
        assert actual(engine, name) == reserved(engine, name)
    first, last = (engine.endpoints(engine.container(name).id)[0] for name in ("n0", "n196"))
    assert execute(engine, "n0", "ping", "-c1", "-W2", str(last.addresses[0].ip))[0] == 0
    assert execute(engine, "n196", "ping", "-c1", "-W2", "n0")[0] == 0
    assert first.network_id == last.network_id
    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(lambda name: engine.remove(name, force=True), names))
    assert all(engine.usage(network)[0][1].in_use == 1 for network in networks)
