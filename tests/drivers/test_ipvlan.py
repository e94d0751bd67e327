"""ipvlan, on the kernels that have it: not the development machine's, so `make test-kernels` runs it on another."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from drivers.api import Route, Traits
from drivers.dhcp import Client, Stop, acquire, renew
from drivers.ipvlan import Ipvlan
from drivers.kernel.address import add_address
from drivers.kernel.link import set_up
from drivers.kernel.netlink import Netlink
from tests.drivers.parents import a_network, attach, links, reaches
from tests.drivers.wires import ROOT, an_endpoint, route
from tests.support.box import Box
from tests.support.dhcp import Dnsmasq, serving

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]


@pytest.fixture
def driver(netlink: Netlink) -> Ipvlan:
    return Ipvlan(netlink, ROOT)


def test_it_switches_between_endpoints_and_to_the_parents_network(driver: Ipvlan, outside: Box, a: Box, b: Box) -> None:
    network = a_network(driver, parent="parent")
    attach(driver, network, a, "10.5.0.1/24")
    attach(driver, network, b, "10.5.0.2/24")

    assert reaches(a, "10.5.0.2")
    assert reaches(a, "10.5.0.254")
    assert reaches(outside, "10.5.0.1")


@pytest.mark.parametrize("flag", ["private", "vepa"])
def test_these_flags_reach_the_parents_network_alone(driver: Ipvlan, outside: Box, a: Box, b: Box, flag: str) -> None:
    network = a_network(driver, parent="parent", ipvlan_flag=flag)
    attach(driver, network, a, "10.5.0.1/24")
    attach(driver, network, b, "10.5.0.2/24")

    assert reaches(a, "10.5.0.254")
    assert reaches(b, "10.5.0.254")
    assert not reaches(a, "10.5.0.2")


@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_it_routes_by_the_hosts_table(
    driver: Ipvlan, outside: Box, a: Box, b: Box, netlink: Netlink, mode: str
) -> None:
    """Outside knows the way to the containers by the host's own address, as through any router."""
    netlink.apply([add_address(netlink.index("parent"), ip_interface("10.5.0.253/24"))])
    route(outside, "10.6.0.0/24", "10.5.0.253")
    network = a_network(driver, parent="parent", ipvlan_mode=mode)
    attach(driver, network, a, "10.6.0.1/32")
    attach(driver, network, b, "10.6.0.2/32")

    assert reaches(a, "10.6.0.2")
    assert reaches(a, "10.5.0.254")
    assert reaches(outside, "10.6.0.1")


def test_where_it_routes_everything_is_on_the_link(driver: Ipvlan, outside: Box, a: Box) -> None:
    network = a_network(driver, parent="parent", ipvlan_mode="l3")

    attachment = driver.join(network, an_endpoint(network, a, "10.6.0.1/24"), a.path)

    assert attachment.gateways == ()
    assert attachment.routes == (Route(destination=ip_network("0.0.0.0/0")),)


def test_where_it_switches_the_gateway_is_the_networks(driver: Ipvlan, outside: Box, a: Box) -> None:
    network = a_network(driver, parent="parent")

    attachment = driver.join(network, an_endpoint(network, a, "10.5.0.1/24"), a.path)

    assert attachment.gateways == (ip_address("10.5.0.254"),)


def test_its_mac_is_the_parents(driver: Ipvlan, outside: Box, a: Box, netlink: Netlink) -> None:
    network = a_network(driver, parent="parent")

    attach(driver, network, a, "10.5.0.1/24")

    parent = netlink.link("parent")
    [link] = links(a).values()
    assert parent is not None
    assert (link.mac, link.kind) == (parent.mac, "ipvlan")
    assert not driver.traits(network.options, internal=False).own_macs


def test_point_to_point(driver: Ipvlan, a: Box, b: Box) -> None:
    network = a_network(driver, internal=True)
    attach(driver, network, a, "10.5.0.0/31")
    attach(driver, network, b, "10.5.0.1/31")

    assert reaches(a, "10.5.0.1")
    assert reaches(b, "10.5.0.0")


def test_its_link_is_gone_when_it_has_left(driver: Ipvlan, outside: Box, a: Box) -> None:
    network = a_network(driver, parent="parent")
    endpoint = attach(driver, network, a, "10.5.0.1/24")

    driver.withdraw(network, endpoint, a.path)

    assert not links(a)


@pytest.mark.parametrize(("mode", "gateway"), [("l2", True), ("l3", False), ("l3s", False)])
def test_it_keeps_an_address_for_a_gateway_where_it_switches(driver: Ipvlan, mode: str, gateway: bool) -> None:
    traits = driver.traits(driver.parse({"parent": "eth0", "ipvlan_mode": mode}), internal=False)

    assert traits == Traits(claim="eth0", on_host=False, own_macs=False, gateway=gateway)


def test_a_dhcp_server_tells_endpoints_of_one_mac_apart(
    driver: Ipvlan, outside: Box, a: Box, b: Box, netlink: Netlink, tmp_path: Path
) -> None:
    """By their client ids; its answers reach them as broadcasts, for no address tells the link whose they are."""
    netlink.apply([set_up("parent")])
    network = a_network(driver, parent="parent")
    stop = Stop()
    with closing(stop), serving(Dnsmasq(outside, tmp_path, "10.5.0.10", "10.5.0.60")) as server:
        for box in (a, b):
            link = driver.join(network, an_endpoint(network, box, "10.5.0.1/24"), box.path).link
            with Netlink(box.path) as inside:
                inside.apply([set_up(link)])
            client = Client(netns=box.path, link=link, mac="", client_id=b"\x00" + box.name.encode())
            lease = acquire(client, stop, 10)
            box.run("ip", "address", "add", str(lease.address), "dev", link)
            assert renew(client, lease, stop, 4).address == lease.address
        assert len(server.leases()) == 2
    assert reaches(a, "10.5.0.254")
