"""macvlan on a veth's end, whose other end is a neighbour outside, and on a parent that leads nowhere."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from drivers.api import Endpoint, Traits
from drivers.errors import DriverError, InvalidOption, LinkTaken, MissingLinkKind
from drivers.ipvlan import Ipvlan
from drivers.kernel.address import add_address
from drivers.kernel.errors import KernelError
from drivers.kernel.link import add_veth, set_down, set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.sublink import knows_kind
from drivers.macvlan import Macvlan
from drivers.parents import sink_name
from tests.drivers.parents import a_network, attach, links, reaches
from tests.drivers.wires import ROOT, an_endpoint, an_id, configure
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def driver(netlink: Netlink) -> Macvlan:
    return Macvlan(netlink, ROOT)


# --- modes ----------------------------------------------------------------------------------------


def test_bridge_mode_reaches_the_others_and_the_parents_network(driver: Macvlan, outside: Box, a: Box, b: Box) -> None:
    network = a_network(driver, parent="parent")
    attach(driver, network, a, "10.5.0.1/24")
    attach(driver, network, b, "10.5.0.2/24")

    assert reaches(a, "10.5.0.2")
    assert reaches(a, "10.5.0.254")
    assert reaches(outside, "10.5.0.1")


@pytest.mark.parametrize("mode", ["private", "vepa"])
def test_these_modes_reach_the_parents_network_alone(driver: Macvlan, outside: Box, a: Box, b: Box, mode: str) -> None:
    """vepa would reach the others through a switch that sends frames back where they came from."""
    network = a_network(driver, parent="parent", macvlan_mode=mode)
    attach(driver, network, a, "10.5.0.1/24")
    attach(driver, network, b, "10.5.0.2/24")

    assert reaches(a, "10.5.0.254")
    assert reaches(b, "10.5.0.254")
    assert not reaches(a, "10.5.0.2")


def test_passthru_has_the_parent_for_itself(driver: Macvlan, outside: Box, a: Box, b: Box, netlink: Netlink) -> None:
    network = a_network(driver, parent="parent", macvlan_mode="passthru")
    endpoint = Endpoint(id=an_id("one"), mac="", addresses=(ip_interface("10.5.0.1/24"),))
    with Netlink(a.path) as inside:
        attachment = driver.join(network, endpoint, a.path)
        index = inside.index(attachment.link)
        inside.apply([add_address(index, ip_interface("10.5.0.1/24")), set_up(index)])

    parent = netlink.link("parent")
    assert parent is not None
    assert links(a)[attachment.link].mac == parent.mac
    assert reaches(a, "10.5.0.254")
    with pytest.raises(DriverError, match="cannot attach to network net") as caught:
        driver.join(network, an_endpoint(network, b, "10.5.0.2/24"), b.path)
    assert caught.value.kind == "conflict"
    assert "passthru, which is alone" in caught.value.hint


# --- endpoints ------------------------------------------------------------------------------------


def test_an_endpoint_has_the_mac_it_was_given(driver: Macvlan, outside: Box, a: Box) -> None:
    network = a_network(driver, parent="parent")

    endpoint = attach(driver, network, a, "10.5.0.1/24")

    [link] = links(a).values()
    assert (link.mac, link.kind) == (endpoint.mac, "macvlan")


def test_it_joins_while_its_parent_is_down(driver: Macvlan, outside: Box, a: Box, netlink: Netlink) -> None:
    """And works as soon as that is up."""
    netlink.apply([set_down("parent")])
    network = a_network(driver, parent="parent")

    attach(driver, network, a, "10.5.0.1/24")

    assert not reaches(a, "10.5.0.254")
    netlink.apply([set_up("parent")])
    eventually(lambda: reaches(a, "10.5.0.254"))


def test_point_to_point(driver: Macvlan, a: Box, b: Box) -> None:
    """A subnet of two addresses is enough where no gateway takes one."""
    network = a_network(driver, internal=True)
    attach(driver, network, a, "10.5.0.0/31")
    attach(driver, network, b, "10.5.0.1/31")

    assert reaches(a, "10.5.0.1")
    assert reaches(b, "10.5.0.0")


def test_its_link_is_gone_when_it_has_left(driver: Macvlan, outside: Box, a: Box) -> None:
    network = a_network(driver, parent="parent")
    endpoint = attach(driver, network, a, "10.5.0.1/24")

    driver.withdraw(network, endpoint, a.path)
    driver.leave(network, endpoint)

    assert not links(a)
    attach(driver, network, a, "10.5.0.1/24")  # the same MAC is free again
    assert reaches(outside, "10.5.0.1")


def test_joining_again_finds_the_link_that_is_there(driver: Macvlan, outside: Box, a: Box) -> None:
    """As after a crash: also when its tag was not on it yet."""
    network = a_network(driver, parent="parent")
    endpoint = an_endpoint(network, a, "10.5.0.1/24")
    first = driver.join(network, endpoint, a.path)
    a.run("ip", "link", "set", first.link, "alias", "")

    assert driver.join(network, endpoint, a.path) == first
    assert len(links(a)) == 1


def test_a_refused_join_leaves_nothing(driver: Macvlan, outside: Box, a: Box, host: Box) -> None:
    network = a_network(driver, parent="parent")
    before = links(host)
    host.run("ip", "link", "del", "parent")

    with pytest.raises(KernelError):
        attach(driver, network, a, "10.5.0.1/24")

    assert links(a) == {}
    assert links(host).keys() == before.keys() - {"parent"}


# --- parents --------------------------------------------------------------------------------------


def test_a_given_parent_is_kept(driver: Macvlan, outside: Box, host: Box) -> None:
    network = a_network(driver, parent="parent")

    driver.delete_network(network)

    assert "parent" in links(host)


def test_without_a_parent_the_network_leads_nowhere(driver: Macvlan, a: Box, b: Box, host: Box) -> None:
    network = a_network(driver)
    attachment = driver.join(network, an_endpoint(network, a, "10.5.0.1/24"), a.path)
    configure(a, an_endpoint(network, a, "10.5.0.1/24"), attachment)
    attach(driver, network, b, "10.5.0.2/24")

    assert attachment.gateways == ()
    assert not attachment.leads_outside
    assert reaches(a, "10.5.0.2")
    assert sink_name(network.id) in links(host)

    driver.delete_network(network)

    assert sink_name(network.id) not in links(host)


def test_an_internal_network_offers_no_way_out(driver: Macvlan, outside: Box, a: Box) -> None:
    network = a_network(driver, parent="parent", internal=True)

    attachment = driver.join(network, an_endpoint(network, a, "10.5.0.1/24"), a.path)

    assert attachment.gateways == ()
    assert not attachment.leads_outside


def test_a_network_that_is_made_again_finds_its_own_parent(driver: Macvlan, host: Box) -> None:
    """As at an engine's start."""
    network = a_network(driver)
    before = links(host)

    driver.create_network(network)

    assert links(host) == before


def test_a_link_in_our_way_is_never_taken(driver: Macvlan, netlink: Netlink) -> None:
    netlink.apply([add_veth(sink_name(an_id("net")), "other", None)])

    with pytest.raises(LinkTaken):
        a_network(driver)


@pytest.mark.parametrize(("parent", "missing"), [("eth7", "eth7"), ("eth7.50", "eth7")])
def test_a_missing_parent_is_named(driver: Macvlan, parent: str, missing: str) -> None:
    with pytest.raises(DriverError, match=f"the host has no link {missing}$") as caught:
        a_network(driver, parent=parent)

    assert caught.value.kind == "not_found"
    assert "LINK.NUMBER" in caught.value.hint


@pytest.mark.parametrize("number", ["0", "4095", "fifty"])
def test_a_vlan_has_a_number_that_frames_can_carry(driver: Macvlan, outside: Box, number: str) -> None:
    with pytest.raises(InvalidOption, match="is no VLAN"):
        a_network(driver, parent=f"parent.{number}")


def test_a_kernel_without_vlans_says_so(driver: Macvlan, outside: Box, host: Box, netlink: Netlink) -> None:
    if knows_kind(netlink, "vlan"):
        pytest.skip("this kernel has VLANs: what they do is tested in test_vlan.py")
    before = links(host)

    with pytest.raises(MissingLinkKind, match="this kernel has no VLAN links") as caught:
        a_network(driver, parent="parent.50")

    assert caught.value.kind == "missing_feature"
    assert "CONFIG_VLAN_8021Q" in caught.value.hint
    assert links(host) == before


# --- options --------------------------------------------------------------------------------------


def test_options_are_dockers(driver: Macvlan) -> None:
    options = driver.parse(
        {"parent": "eth0.50", "macvlan_mode": "vepa", "com.docker.network.driver.mtu": "1400"},
    )

    assert (options.parent, options.mode, options.mtu) == ("eth0.50", "vepa", 1400)
    assert driver.traits(options, internal=False) == Traits(claim="eth0.50", on_host=False)
    assert driver.traits(options, internal=True) == Traits(claim="eth0.50", on_host=False, gateway=False)


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [("macvlan_mod", "bridge", "macvlan_mode"), ("macvlan_mode", "brigde", "bridge"), ("parnet", "eth0", "parent")],
)
def test_a_mistyped_option_is_told_with_what_was_meant(driver: Macvlan, key: str, value: str, hint: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        driver.parse({key: value})

    assert f"did you mean {hint}?" in caught.value.hint


def test_a_kernel_without_ipvlan_says_so(netlink: Netlink, host: Box) -> None:
    if knows_kind(netlink, "ipvlan"):
        pytest.skip("this kernel has ipvlan: what it does is tested in test_ipvlan.py")

    with pytest.raises(MissingLinkKind, match="this kernel has no ipvlan links") as caught:
        a_network(Ipvlan(netlink, ROOT))

    assert "CONFIG_IPVLAN" in caught.value.hint
    assert links(host) == {}
