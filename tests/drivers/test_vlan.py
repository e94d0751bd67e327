"""Parents such as eth0.50, on the kernels that have VLANs: `make test-kernels` runs this where there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drivers.kernel.link import delete_link, set_down, set_up
from drivers.kernel.netlink import Netlink
from drivers.macvlan import Macvlan
from tests.drivers.parents import a_network, attach, links, reaches, stand_outside
from tests.drivers.wires import ROOT
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]


@pytest.fixture
def driver(netlink: Netlink) -> Macvlan:
    return Macvlan(netlink, ROOT)


@pytest.fixture
def outside(host: Box, box: Callable[[str], Box]) -> Box:
    """Its address is in VLAN 50 alone."""
    made = box("outside")
    stand_outside(host, made)
    for line in (
        "addr flush dev wan", "link add wan.50 link wan type vlan id 50", "addr add 10.5.0.254/24 dev wan.50",
        "link set wan.50 up",
    ):  # fmt: skip
        made.run("ip", *line.split())
    return made


@pytest.fixture
def a(box: Callable[[str], Box]) -> Box:
    return box("a")


def test_the_parent_is_made_and_carries_the_vlan(driver: Macvlan, outside: Box, a: Box, host: Box) -> None:
    network = a_network(driver, parent="parent.50")

    attach(driver, network, a, "10.5.0.1/24")

    assert links(host)["parent.50"].kind == "vlan"
    assert reaches(a, "10.5.0.254")


def test_it_goes_with_its_network(driver: Macvlan, outside: Box, host: Box) -> None:
    before = links(host)
    network = a_network(driver, parent="parent.50")

    driver.delete_network(network)

    assert links(host).keys() == before.keys()
    driver.delete_network(network)  # what is gone already is no error


def test_one_that_was_there_before_stays(driver: Macvlan, outside: Box, host: Box) -> None:
    host.run("ip", "link", "add", "parent.50", "link", "parent", "type", "vlan", "id", "50")
    network = a_network(driver, parent="parent.50")

    driver.delete_network(network)

    assert "parent.50" in links(host)


def test_it_is_made_again_when_somebody_removed_it(driver: Macvlan, outside: Box, host: Box, netlink: Netlink) -> None:
    """As at an engine's start."""
    network = a_network(driver, parent="parent.50")
    netlink.apply([delete_link("parent.50")])

    driver.create_network(network)

    assert "parent.50" in links(host)


def test_it_is_made_while_the_link_below_is_down(driver: Macvlan, outside: Box, a: Box, netlink: Netlink) -> None:
    netlink.apply([set_down("parent")])
    network = a_network(driver, parent="parent.50")
    attach(driver, network, a, "10.5.0.1/24")

    netlink.apply([set_up("parent")])

    eventually(lambda: reaches(a, "10.5.0.254"))
