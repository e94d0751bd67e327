"""Addresses lent by a DHCP server on the network of a link of the host."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from drivers.kernel.link import set_up
from drivers.kernel.netlink import Netlink
from netmodel.engine import Engine, leases
from netmodel.engine.events import Subscription
from netmodel.engine.values import Event
from netmodel.errors import NetmodelError
from netmodel.model import ContainerConfig, Endpoint, EndpointConfig, NetworkConfig, PoolConfig, PortConfig, RouteConfig
from netmodel.topology import load
from tests.drivers.parents import stand_outside
from tests.netmodel.engine.conftest import SLEEP, Run, clean_up, execute, output_of, runner
from tests.netmodel.engine.engine_process import Zygote
from tests.netmodel.engine.test_crash import is_killed, zygote
from tests.support.box import Box
from tests.support.dhcp import Dnsmasq, Seekers, Udhcpd, serving
from tests.support.wait import eventually

__all__ = ["zygote"]

pytestmark = pytest.mark.kernel

TOPOLOGY = """
name: office
services:
  web: {image: host, command: sleep 300, networks: [lan]}
  user: {image: host, command: sleep 300, networks: [lan]}
networks:
  lan: {driver: macvlan, driver_opts: {parent: parent}, ipam: {driver: dhcp}}
"""


@pytest.fixture
def outside(host: Box, box: Callable[[str], Box]) -> Box:
    """The segment behind the host's link "parent", with a machine at 10.5.0.254."""
    made = box("outside")
    stand_outside(host, made)
    with Netlink(host.path) as netlink:
        netlink.apply([set_up("parent")])
    return made


@pytest.fixture
def server(outside: Box, tmp_path: Path) -> Iterator[Dnsmasq]:
    options = (
        "--dhcp-option=option:router,10.5.0.254",
        "--dhcp-option=option:dns-server,10.5.0.254",
        "--dhcp-option=option:domain-search,lab.example",
        "--dhcp-option=option:mtu,1400",
    )
    with serving(Dnsmasq(outside, tmp_path, "10.5.0.10", "10.5.0.60", *options)) as started:
        yield started


def make_lan(engine: Engine, **config: object) -> None:
    wanted = {"name": "lan", "driver": "macvlan", "options": {"parent": "parent"}, "ipam_driver": "dhcp", **config}
    engine.create_network(NetworkConfig(**wanted))  # type: ignore[arg-type]


def endpoint_of(engine: Engine, ref: str) -> Endpoint:
    [endpoint] = engine.endpoints(container_id=engine.container(ref).id)
    return endpoint


def address_of(engine: Engine, ref: str) -> str:
    [address] = endpoint_of(engine, ref).addresses
    return str(address.ip)


def test_a_container_has_what_the_server_says(server: Dnsmasq, outside: Box, engine: Engine, run: Run) -> None:
    make_lan(engine)

    run("web", "lan")

    address = address_of(engine, "web")
    assert f"inet {address}/24" in output_of(engine, "web", "ip", "-o", "address", "show", "eth0")
    assert "mtu 1400 " in output_of(engine, "web", "ip", "link", "show", "eth0")
    assert output_of(engine, "web", "ip", "route", "show", "default").startswith("default via 10.5.0.254 dev eth0 ")
    assert "search lab.example\n" in output_of(engine, "web", "cat", "/etc/resolv.conf")
    assert f"{address}\t" in output_of(engine, "web", "cat", "/etc/hosts")
    assert execute(engine, "web", "ping", "-c1", "-W1", "10.5.0.254")[0] == 0
    mac = endpoint_of(engine, "web").mac
    assert server.leases()[address][1:] == [mac, "web", f"01:{mac}"]


def test_names_are_asked_of_the_servers_that_come_with_it(
    server: Dnsmasq, outside: Box, engine: Engine, run: Run
) -> None:
    """From inside the container; one that names its own servers asks those."""
    make_lan(engine)
    outside.run("ip", "address", "add", "10.5.0.253/24", "dev", "wan")

    with answering(outside, "10.5.0.254", "10.5.0.77"), answering(outside, "10.5.0.253", "10.5.0.78"):
        run("web", "lan")
        run("own", "lan", dns=(IPv4Address("10.5.0.253"),))

        assert output_of(engine, "web", "getent", "hosts", "printer.example").startswith("10.5.0.77 ")
        assert output_of(engine, "own", "getent", "hosts", "printer.example").startswith("10.5.0.78 ")


@contextmanager
def answering(outside: Box, at: str, printer: str) -> Iterator[None]:
    """A name server that knows one name."""
    process = outside.popen(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root"),
        *("--pid-file=", f"--listen-address={at}", "--bind-interfaces", f"--address=/printer.example/{printer}"),
    )
    try:
        eventually(lambda: outside.run("ss", "-Hlun", "src", at, "sport", "=", "53").stdout, what="the name server")
        yield
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_it_is_kept_over_stop_and_start_and_given_back_at_the_end(server: Dnsmasq, engine: Engine, run: Run) -> None:
    make_lan(engine)
    run("web", "lan")
    address = address_of(engine, "web")

    engine.stop("web", timeout_s=0)
    assert address in server.leases()
    asked = server.log().count("DHCPDISCOVER")
    engine.start("web")

    assert address_of(engine, "web") == address
    assert server.log().count("DHCPDISCOVER") == asked  # it was remembered, not looked for
    engine.restart("web", timeout_s=0)
    assert address_of(engine, "web") == address
    engine.stop("web", timeout_s=0)
    engine.remove("web")
    eventually(lambda: address not in server.leases(), what="the lease")


def test_connect_and_disconnect(server: Dnsmasq, engine: Engine, run: Run) -> None:
    make_lan(engine)
    run("web")

    endpoint = engine.connect("lan", "web", EndpointConfig(network="lan", gw_priority=1))

    [address] = endpoint.addresses
    assert str(address.ip) in server.leases()
    assert f"inet {address} " in output_of(engine, "web", "ip", "-o", "address", "show", "eth1")
    assert "default via 10.5.0.254 dev eth1" in output_of(engine, "web", "ip", "route")
    assert "search lab.example\n" in output_of(engine, "web", "cat", "/etc/resolv.conf")
    engine.disconnect("lan", "web")
    eventually(lambda: server.leases() == {}, what="the lease")
    assert "lab.example" not in output_of(engine, "web", "cat", "/etc/resolv.conf")
    assert "dev eth0" in output_of(engine, "web", "ip", "route", "show", "default")


def test_classless_routes_go_before_the_router(outside: Box, tmp_path: Path, engine: Engine, run: Run) -> None:
    routes = "10.9.0.0/16,10.5.0.253,10.8.0.0/24,0.0.0.0,0.0.0.0/0,10.5.0.252"
    options = (f"--dhcp-option=option:classless-static-route,{routes}", "--dhcp-option=option:router,10.5.0.254")
    with serving(Dnsmasq(outside, tmp_path, "10.5.0.10", "10.5.0.60", *options)):
        make_lan(engine)
        run("web", "lan")

    found = output_of(engine, "web", "ip", "route").splitlines()
    assert any(line.startswith("default via 10.5.0.252 dev eth0") for line in found)
    assert any(line.startswith("10.9.0.0/16 via 10.5.0.253 dev eth0") for line in found)
    assert any(line.startswith("10.8.0.0/24 dev eth0") for line in found)


def test_routes_by_a_gateway_that_turns_out_to_be_on_the_link(server: Dnsmasq, engine: Engine, run: Run) -> None:
    make_lan(engine)
    route = RouteConfig(destination=IPv4Network("10.77.0.0/16"), via=IPv4Address("10.5.0.253"))

    run("web", "lan", routes=(route,))

    assert "10.77.0.0/16 via 10.5.0.253 dev eth0" in output_of(engine, "web", "ip", "route")
    with pytest.raises(NetmodelError, match="the container has no such interface"):
        run("other", "lan", routes=(replace(route, dev="eth7"),))


def test_removing_a_container_ends_a_renewal_that_is_under_way(
    outside: Box, tmp_path: Path, engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose socket would keep its namespace alive until some server answers."""
    monkeypatch.setattr(leases, "_RENEWAL_S", 60.0)
    with serving(renewing(outside, tmp_path, "10.5.0.10", "10.5.0.60")):
        make_lan(engine)
        run("web", "lan")
    with closing(Seekers(outside)) as seekers:
        seekers.wait_for(1)  # nobody answers that
        engine.remove("web", force=True)

    # The one that is left waits for what is due next.
    eventually(lambda: [one.name for one in threading.enumerate()].count("lease") == 1, what="its thread's end")


def test_no_server_answers(outside: Box, engine: Engine, run: Run, host: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence, and nothing left behind; connecting leaves the container as it was."""
    monkeypatch.setattr(leases, "PATIENCE_S", 1.0)
    make_lan(engine)
    run("other")
    engine.create_container(
        ContainerConfig(image="host", command=SLEEP, networks=(EndpointConfig(network="lan"),)), "web"
    )
    before = traces(engine, host)

    with pytest.raises(NetmodelError, match="no DHCP server answered on parent parent within 1 s") as refused:
        engine.start("web")
    with pytest.raises(NetmodelError, match="no DHCP server answered on parent parent within 1 s"):
        engine.connect("lan", "other")

    assert refused.value.kind == "unavailable"
    assert engine.container("web").state.status == "created"
    eventually(lambda: traces(engine, host) == before, what="what is left")


def create(engine: Engine, name: str) -> None:
    wish = EndpointConfig(network="lan")
    engine.create_container(ContainerConfig(image="host", command=SLEEP, networks=(wish,)), name)


def traces(engine: Engine, host: Box) -> object:
    """Links, sockets, threads and descriptors."""
    return (
        host.run("ip", "-o", "link").stdout,
        output_of(engine, "other", "ip", "-o", "link"),
        output_of(engine, "other", "ss", "-Hna0"),
        sorted(thread.name for thread in threading.enumerate()),
        len(list(Path("/proc/self/fd").iterdir())),
        [endpoint.container_id for endpoint in engine.endpoints()],
    )


def test_twenty_leases_at_once(server: Dnsmasq, engine: Engine) -> None:
    make_lan(engine)
    names = [f"c{number}" for number in range(24)]
    for name in names:
        create(engine, name)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(engine.start, names))

    addresses = {address_of(engine, name) for name in names}
    assert len(addresses) == len(names)
    assert addresses == set(server.leases())


def test_two_segments_may_lend_the_same_address(
    server: Dnsmasq, engine: Engine, run: Run, host: Box, box: Callable[[str], Box], tmp_path: Path
) -> None:
    """What is unique is an endpoint, not its address."""
    elsewhere = box("elsewhere")
    stand_outside(host, elsewhere, parent="parent2")
    with Netlink(host.path) as netlink:
        netlink.apply([set_up("parent2")])
    make_lan(engine)
    make_lan(engine, name="lan2", options={"parent": "parent2"})
    with serving(Dnsmasq(elsewhere, tmp_path, "10.5.0.10", "10.5.0.60")):
        for number, network in enumerate(("lan", "lan2")):
            wish = EndpointConfig(network=network, mac_address="02:00:00:00:05:01")
            run(f"c{number}", networks=(wish,))

    assert address_of(engine, "c0") == address_of(engine, "c1")


def test_waiting_for_a_server_holds_up_nobody_else(
    outside: Box, engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the end of other containers, not the network's other users, and not who asks for its removal."""
    monkeypatch.setattr(leases, "PATIENCE_S", 60.0)
    make_lan(engine)
    names = [f"c{number}" for number in range(3)]
    pids = [run(name).state.pid for name in names]
    create(engine, "waiting")
    with closing(Seekers(outside)) as seekers, ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(engine.connect, "lan", name) for name in names]
        waits.append(pool.submit(engine.start, "waiting"))
        seekers.wait_for(4)
        # Their ends can be settled only once the waiting is over.
        kills = [pool.submit(engine.kill, name) for name in names]
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="their ends")

        run("short", command=("true",))
        eventually(lambda: engine.container("short").state.status == "exited", what="its end")
        with pytest.raises(NetmodelError, match="network lan has active endpoints"):
            engine.remove_network("lan")
        create(engine, "another")

        assert not any(one.done() for one in (*waits, *kills))
        with serving(Udhcpd(outside, tmp_path, "10.5.0.10", "10.5.0.60", 100)):
            for one in (*waits, *kills):
                one.result(timeout=30)
    assert {engine.container(name).state.status for name in names} == {"exited"}
    assert engine.container("waiting").state.status == "running"


def test_what_cannot_be_had(outside: Box, engine: Engine, run: Run) -> None:
    """Said in a sentence when the network is made, or the container."""
    lans = {
        "without a parent": {"options": {}},
        "containers alone": {"driver": "bridge", "options": {}},
        "there is no bridge br9": {"driver": "bridge", "options": {"com.docker.network.bridge.name": "br9"}},
        "reached on a network of driver p2p": {"driver": "p2p", "options": {}},
        "the IPAM driver dhcp cannot be given 10.5.0.0/24": {"pools": (PoolConfig(subnet=IPv4Network("10.5.0.0/24")),)},
        "no option 'x'": {"ipam_options": {"x": "y"}},
        "IPv4 is off": {"enable_ipv4": False, "enable_ipv6": True},
    }
    for why, config in lans.items():
        with pytest.raises(NetmodelError, match=why) as refused:
            make_lan(engine, **config)
        assert refused.value.kind == "invalid"
        assert refused.value.hint
    make_lan(engine)
    with pytest.raises(NetmodelError, match=r"network lan are a DHCP server's to give, and so is 10\.5\.0\.7"):
        run("web", networks=(EndpointConfig(network="lan", ipv4_address=IPv4Address("10.5.0.7")),))
    assert [one.name for one in engine.networks() if one.config.leased] == ["lan"]


@pytest.mark.parametrize("mode", ["private", "vepa", "passthru"])
def test_every_mode_of_macvlan(server: Dnsmasq, engine: Engine, run: Run, mode: str) -> None:
    make_lan(engine, options={"parent": "parent", "macvlan_mode": mode})

    run("web", "lan")

    assert address_of(engine, "web") in server.leases()
    assert execute(engine, "web", "ping", "-c1", "-W1", "10.5.0.254")[0] == 0
    engine.remove("web", force=True)
    eventually(lambda: server.leases() == {}, what="the lease")


def test_an_internal_network_has_no_way_out(server: Dnsmasq, engine: Engine, run: Run) -> None:
    make_lan(engine, internal=True)

    run("web", "lan")

    assert "default" not in output_of(engine, "web", "ip", "route")
    assert address_of(engine, "web") in server.leases()


def test_a_bridge_with_a_segment_on_it(server: Dnsmasq, engine: Engine, run: Run, host: Box) -> None:
    """Somebody else's bridge, which has the link to the segment as a port; who asks bears its own MAC address."""
    for command in ("add br0 type bridge", "set parent master br0", "set br0 up"):
        host.run("ip", "link", *command.split())
    options = {"com.docker.network.bridge.name": "br0", "netmodel.bridge.mac_check": "true"}
    make_lan(engine, driver="bridge", options=options)

    run("web", "lan")
    run("peer", "lan")

    address = address_of(engine, "web")
    assert address in server.leases()
    assert output_of(engine, "web", "ip", "route", "show", "default").startswith("default via 10.5.0.254 dev eth0 ")
    assert execute(engine, "web", "ping", "-c1", "-W1", "10.5.0.254")[0] == 0
    assert execute(engine, "peer", "ping", "-c1", "-W1", "web")[0] == 0
    engine.remove("peer", force=True)
    eventually(lambda: list(server.leases()) == [address], what="the lease")


def test_ipv6_comes_from_the_routers(outside: Box, tmp_path: Path, engine: Engine, run: Run) -> None:
    """The kernel makes addresses and a default route of what they advertise, whatever else changes."""
    outside.run("ip", "address", "add", "2001:db8:5::1/64", "dev", "wan")
    options = ("--enable-ra", "--dhcp-range=2001:db8:5::,ra-only", "--ra-param=wan,4,60")
    with serving(Dnsmasq(outside, tmp_path, "10.5.0.10", "10.5.0.60", *options)):
        make_lan(engine, enable_ipv6=True)
        run("web", "lan")

        shown = ("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global")
        eventually(lambda: "inet6 2001:db8:5:" in output_of(engine, "web", *shown), what="the address")
        engine.connect("bridge", "web")
        assert "default via fe80:" in output_of(engine, "web", "ip", "-6", "route")
        reached = ("ping", "-6", "-c1", "-W1", "2001:db8:5::1")
        eventually(lambda: execute(engine, "web", *reached)[0] == 0, what="the router")


# --- time passes --------------------------------------------------------------------------------


def renewing(outside: Box, directory: Path, first: str, last: str) -> Dnsmasq:
    """Two minutes that are to be renewed after three seconds."""
    return Dnsmasq(outside, directory, first, last, "--dhcp-option=58,3", "--dhcp-option=59,60")


def expiry_of(engine: Engine, ref: str) -> datetime:
    lease = endpoint_of(engine, ref).lease
    assert lease is not None
    assert lease.expires_at is not None
    return lease.expires_at


def test_it_is_renewed_in_time(outside: Box, tmp_path: Path, engine: Engine, run: Run) -> None:
    with serving(renewing(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as server:
        make_lan(engine)
        run("web", "lan")
        first, address = expiry_of(engine, "web"), address_of(engine, "web")

        eventually(lambda: expiry_of(engine, "web") > first, what="the lease's end")

        assert address_of(engine, "web") == address
        assert server.log().count("DHCPACK") == 2
        assert server.log().count("DHCPDISCOVER") == 1


def test_an_address_that_was_taken_back_is_replaced(outside: Box, tmp_path: Path, engine: Engine, run: Run) -> None:
    with serving(renewing(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as before:
        make_lan(engine)
        run("web", "lan")
        run("peer", "lan")
        former = address_of(engine, "web")
    before.forget()
    events = engine.events.subscribe()

    with serving(renewing(outside, tmp_path, "10.5.0.200", "10.5.0.210")) as after:
        address = eventually(lambda: others(engine, "web", former), what="another address")

        assert "DHCPNAK" in after.log()
        assert address in after.leases()
    shown = output_of(engine, "web", "ip", "-o", "-4", "address", "show", "eth0")
    assert f"inet {address}/24" in shown
    assert f"inet {former}/" not in shown
    assert f"{address}\t" in output_of(engine, "web", "cat", "/etc/hosts")
    assert former not in output_of(engine, "web", "cat", "/etc/hosts")
    # Whose own address is being replaced as well.
    eventually(lambda: address in execute(engine, "peer", "getent", "ahostsv4", "web")[1], what="its name's")
    told = [event for event in drained(events) if event.action == "lease"]
    of_web = [one.attributes for one in told if one.attributes["container"] == engine.container("web").id]
    assert [(one["former"], one["address"]) for one in of_web] == [(f"{former}/24", ""), ("", f"{address}/24")]


def test_published_ports_follow_the_address(outside: Box, tmp_path: Path, engine: Engine, run: Run, host: Box) -> None:
    """On a bridge with a segment on it, which the host has an address on, too."""
    for command in ("link add br0 type bridge", "link set parent master br0", "address add 10.5.0.253/24 dev br0"):
        host.run("ip", *command.split())
    server = ("busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hello")
    asked = ("busybox", "nc", "-w", "2", "10.5.0.253", "8080")
    with serving(renewing(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as before:
        make_lan(engine, driver="bridge", options={"com.docker.network.bridge.name": "br0"})
        run("web", "lan", command=server, ports=(PortConfig(container_port=80, host_port=8080),))
        former = address_of(engine, "web")
        eventually(lambda: outside.run(*asked, check=False).stdout == "hello\n", what="the answer")
    before.forget()

    with serving(renewing(outside, tmp_path, "10.5.0.200", "10.5.0.210")):
        eventually(lambda: others(engine, "web", former), what="another address")
        eventually(lambda: outside.run(*asked, check=False).stdout == "hello\n", what="the answer")
    [port] = engine.container("web").ports
    assert port.host_port == 8080
    engine.remove("web", force=True)
    assert outside.run(*asked, check=False).stdout == ""


def others(engine: Engine, ref: str, former: str) -> str:
    """An address that it has now and is another."""
    addresses = [str(one.ip) for one in endpoint_of(engine, ref).addresses]
    return addresses[0] if addresses and addresses[0] != former else ""


def drained(events: Subscription) -> list[Event]:
    found = []
    with suppress(queue.Empty):
        while True:
            found.append(events.get_nowait())
    return found


def test_a_lease_that_nobody_renews_ends(outside: Box, tmp_path: Path, engine: Engine, run: Run) -> None:
    """And begins anew with the next server, whatever that one lends."""
    with serving(Udhcpd(outside, tmp_path, "10.5.0.10", "10.5.0.20", 4)):
        make_lan(engine)
        run("web", "lan")
        address = address_of(engine, "web")

    eventually(lambda: not endpoint_of(engine, "web").addresses, what="the address")
    assert address not in output_of(engine, "web", "ip", "-o", "address")

    with serving(Udhcpd(outside, tmp_path, "10.5.0.30", "10.5.0.40", 100)):
        eventually(lambda: endpoint_of(engine, "web").addresses, timeout_s=30, what="another address")
    # The record comes first, so that a crash leaves nothing undeclared.
    eventually(lambda: execute(engine, "web", "ping", "-c1", "-W1", "10.5.0.254")[0] == 0)


def test_the_next_engine_goes_on(outside: Box, tmp_path: Path, host: Box) -> None:
    """What was due is done at once; the address stays meanwhile."""
    first = Engine(tmp_path / "root")
    first.open()
    with serving(renewing(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as server:
        make_lan(first)
        runner(first)("web", "lan")
        netns = first.sandbox_path(first.container("web").id)
        assert netns is not None
        address, expires_at = address_of(first, "web"), expiry_of(first, "web")
        first.close()
        inside = Box.at("web", netns)
        assert address in inside.run("ip", "-o", "address").stdout

        second = Engine(tmp_path / "root")
        second.open()
        try:
            eventually(lambda: expiry_of(second, "web") > expires_at, what="the lease's end")
            assert address_of(second, "web") == address
            assert second._warnings == []
            assert server.log().count("DHCPDISCOVER") == 1
            assert execute(second, "web", "ping", "-c1", "-W1", "10.5.0.254")[0] == 0
        finally:
            clean_up(second)
        inside.close()
        assert server.leases() == {}


def test_a_lease_ends_though_no_engine_is_there(outside: Box, tmp_path: Path, host: Box) -> None:
    """Its address would be another's by then; the next engine looks for a new one."""
    first = Engine(tmp_path / "root")
    first.open()
    with serving(Udhcpd(outside, tmp_path, "10.5.0.10", "10.5.0.20", 4)):
        make_lan(first)
        runner(first)("web", "lan")
        address = address_of(first, "web")
        netns = first.sandbox_path(first.container("web").id)
        assert netns is not None
        first.close()
    inside = Box.at("web", netns)
    eventually(lambda: address not in inside.run("ip", "-o", "address").stdout, what="the address")
    inside.close()

    with serving(Udhcpd(outside, tmp_path, "10.5.0.30", "10.5.0.40", 100)):
        second = Engine(tmp_path / "root")
        second.open()
        try:
            eventually(lambda: others(second, "web", address), what="another address")
            assert "default" not in output_of(second, "web", "ip", "route")  # this server names no router
            assert execute(second, "web", "ping", "-c1", "-W1", "10.5.0.254")[0] == 0
        finally:
            clean_up(second)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["up", "down"])
def test_killed_on_the_way(server: Dnsmasq, host: Box, tmp_path: Path, zygote: Zygote, verb: str) -> None:
    """The next engine makes it whole or undoes it; no link is left, and nothing that is recorded is wrong."""
    file = tmp_path / "office.yaml"
    file.write_text(TOPOLOGY)
    project = load(file, {}).project
    before = host.run("ip", "-o", "link").stdout
    for at in itertools.count(2, 7):
        if not is_killed(zygote, host, tmp_path / f"root{at}", file, verb, at):
            break
        with Engine(tmp_path / f"root{at}") as engine:
            engine.up(project)
            addresses = {address_of(engine, container.name) for container in engine.containers()}
            assert len(addresses) == 2
            assert addresses <= set(server.leases())
            assert execute(engine, "office-user-1", "ping", "-c1", "-W1", "web")[0] == 0
            engine.down("office")
            assert engine._warnings == []
        eventually(lambda: host.run("ip", "-o", "link").stdout == before, what="the host's links")
        eventually(lambda gone=addresses: not gone & set(server.leases()), what="the leases")
    assert at > 15
