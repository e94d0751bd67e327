"""p2p: two sandboxes and a cable between them, with real frames."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest

from drivers.api import Endpoint, Network, Pool
from drivers.errors import InvalidOption, LinkTaken, NetworkFull
from drivers.kernel.link import Link, add_veth
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from drivers.p2p import Options, P2p, waiting_name
from tests.drivers.wires import ROOT, an_endpoint, an_id, configure, ping
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel

# To a group that no bridge forwards (IEEE 802.1Q, table 8-1), by its EtherType: the Link Layer Discovery Protocol.
_LLDP, _NEAREST_BRIDGE = 0x88CC, bytes.fromhex("0180c200000e")
_SPANNING_TREE, _BRIDGE_GROUP = 0x0027, bytes.fromhex("0180c2000000")


@pytest.fixture
def reaper(host: Box) -> Iterator[Reaper]:
    made = Reaper(ROOT)
    yield made
    made.close()


@pytest.fixture
def driver(netlink: Netlink, reaper: Reaper) -> Iterator[P2p]:
    made = P2p(netlink, reaper, ROOT)
    yield made
    made.close()


@pytest.fixture
def a(box: Callable[[str], Box]) -> Box:
    return box("a")


@pytest.fixture
def b(box: Callable[[str], Box]) -> Box:
    return box("b")


def a_link(driver: P2p, name: str = "cable", **options: str) -> Network[Options]:
    network = Network(
        id=an_id(name),
        name=name,
        options=driver.parse({f"com.docker.network.{key}": value for key, value in options.items()}),
        pools=(Pool(subnet=ip_network("10.0.12.0/30")),),
    )
    driver.create_network(network)
    return network


def plug(driver: P2p, network: Network[Options], box: Box, address: str) -> Endpoint:
    endpoint = an_endpoint(network, box, address)
    driver.create_endpoint(network, endpoint)
    configure(box, endpoint, driver.join(network, endpoint, box.path))
    driver.wait_until_carried(network, endpoint)
    return endpoint


def names(box: Box) -> set[str]:
    with Netlink(box.path) as netlink:
        return {link.name for link in netlink.links()}


def only_link(box: Box) -> Link:
    with Netlink(box.path) as netlink:
        [link] = [link for link in netlink.links() if link.name != "lo"]
    return link


def hears(sender: Box, receiver: Box, ethertype: int, to: bytes) -> bool:
    """Whether a frame of any type gets from one end to the other."""
    frame = to + bytes.fromhex(only_link(sender).mac.replace(":", "")) + ethertype.to_bytes(2, "big") + b"hello" * 10
    with (
        receiver.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))) as ear,
        sender.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)) as mouth,
    ):
        ear.bind((only_link(receiver).name, 3))
        ear.settimeout(2)
        mouth.bind((only_link(sender).name, 0))
        mouth.send(frame)
        try:
            while ear.recv(2000) != frame:
                pass
        except TimeoutError:
            return False
    return True


def test_two_ends_reach_each_other_from_the_first_packet(driver: P2p, a: Box, b: Box) -> None:
    network = a_link(driver)
    plug(driver, network, a, "10.0.12.1/30")
    plug(driver, network, b, "10.0.12.2/30")

    reply = ping(a, "10.0.12.2", timeout_s=0.5)  # ARP asks again after a second

    assert reply is not None
    assert reply.ttl == 64


@pytest.mark.parametrize(
    ("ethertype", "to"), [(_LLDP, _NEAREST_BRIDGE), (_SPANNING_TREE, _BRIDGE_GROUP), (0xBEEF, b"\xff" * 6)]
)
def test_any_frame_passes(driver: P2p, a: Box, b: Box, ethertype: int, to: bytes) -> None:
    network = a_link(driver)
    plug(driver, network, a, "10.0.12.1/30")
    plug(driver, network, b, "10.0.12.2/30")

    assert hears(a, b, ethertype, to)
    assert hears(b, a, ethertype, to)


def test_nothing_of_a_whole_pair_is_on_the_host(driver: P2p, a: Box, b: Box, host: Box) -> None:
    before = names(host)
    network = a_link(driver)
    one = plug(driver, network, a, "10.0.12.1/30")

    assert names(host) == before | {waiting_name(network)}

    other = plug(driver, network, b, "10.0.12.2/30")

    assert names(host) == before
    assert (only_link(a).mac, only_link(b).mac) == (one.mac, other.mac)


def test_alone_it_has_no_carrier(driver: P2p, a: Box, b: Box) -> None:
    network = a_link(driver)

    plug(driver, network, a, "10.0.12.1/30")

    assert only_link(a).up
    eventually(lambda: not only_link(a).running)  # older kernels look a moment later


def test_the_one_that_stays_keeps_its_link(driver: P2p, a: Box, b: Box) -> None:
    """Who holds a socket on it, such as a routing daemon, sees it lose its carrier and get it back."""
    network = a_link(driver)
    plug(driver, network, a, "10.0.12.1/30")
    gone = plug(driver, network, b, "10.0.12.2/30")
    before = only_link(a)

    driver.withdraw(network, gone, b.path)
    driver.leave(network, gone)

    eventually(lambda: not only_link(a).running)
    assert only_link(a).index == before.index

    plug(driver, network, b, "10.0.12.2/30")

    assert only_link(a) == before
    assert ping(b, "10.0.12.1", timeout_s=0.5)


def test_the_first_one_may_leave_and_come_back(driver: P2p, a: Box, b: Box) -> None:
    network = a_link(driver)
    first = plug(driver, network, a, "10.0.12.1/30")
    plug(driver, network, b, "10.0.12.2/30")

    driver.withdraw(network, first, a.path)
    driver.leave(network, first)
    plug(driver, network, a, "10.0.12.1/30")

    assert ping(a, "10.0.12.2", timeout_s=0.5)
    assert ping(b, "10.0.12.1", timeout_s=0.5)


def test_nothing_is_left_when_both_have_left(driver: P2p, a: Box, b: Box, host: Box, reaper: Reaper) -> None:
    before = names(host)
    network = a_link(driver)
    ends = {a: plug(driver, network, a, "10.0.12.1/30"), b: plug(driver, network, b, "10.0.12.2/30")}

    for box, endpoint in ends.items():
        driver.withdraw(network, endpoint, box.path)
        driver.leave(network, endpoint)
    driver.delete_network(network)
    reaper.drain()

    assert names(host) == before
    for box in ends:
        assert names(box) == {"lo"}


def test_one_that_was_alone_may_come_back_before_its_last_link_is_deleted(driver: P2p, a: Box, b: Box) -> None:
    network = a_link(driver)
    endpoint = plug(driver, network, a, "10.0.12.1/30")
    driver.withdraw(network, endpoint, a.path)
    driver.leave(network, endpoint)

    attachment = driver.join(network, endpoint, a.path)

    with Netlink(a.path) as netlink:
        link = netlink.link(attachment.link)
    assert link is not None
    plug(driver, network, b, "10.0.12.2/30")
    assert not link.name.startswith("gone")


def test_joining_again_finds_the_end_that_is_there(driver: P2p, a: Box) -> None:
    """As after a crash between the link's making and the record of it."""
    network = a_link(driver)
    endpoint = an_endpoint(network, a, "10.0.12.1/30")

    first = driver.join(network, endpoint, a.path)
    again = driver.join(network, endpoint, a.path)

    assert first == again
    only_link(a)


def test_an_end_that_is_not_tagged_yet_is_known_by_its_name(driver: P2p, a: Box) -> None:
    """As after a crash between the making of the pair and the tag of the end inside."""
    network = a_link(driver)
    endpoint = an_endpoint(network, a, "10.0.12.1/30")
    first = driver.join(network, endpoint, a.path)
    a.run("ip", "link", "set", first.link, "alias", "")

    assert driver.join(network, endpoint, a.path) == first
    only_link(a)


def test_a_namespace_that_dies_takes_its_pair_with_it(driver: P2p, b: Box, host: Box) -> None:
    """Both ends go, so that whoever comes next makes a new pair."""
    network = a_link(driver)
    dying = Box("dying")
    plug(driver, network, dying, "10.0.12.1/30")
    dying.close()

    eventually(lambda: waiting_name(network) not in names(host))
    plug(driver, network, b, "10.0.12.2/30")

    assert waiting_name(network) in names(host)


def test_a_third_end_is_refused(driver: P2p, a: Box, b: Box, box: Callable[[str], Box]) -> None:
    """The engine counts beforehand; of three that come at once, two may join."""
    network = a_link(driver)
    plug(driver, network, a, "10.0.12.1/30")
    leaving = plug(driver, network, b, "10.0.12.2/30")
    c = box("c")

    with pytest.raises(NetworkFull):
        plug(driver, network, c, "10.0.12.2/30")

    assert names(c) == {"lo"}
    driver.withdraw(network, leaving, b.path)
    driver.leave(network, leaving)
    plug(driver, network, c, "10.0.12.2/30")
    assert ping(a, "10.0.12.2", timeout_s=0.5)


def test_its_mtu_is_that_of_both_ends(driver: P2p, a: Box, b: Box) -> None:
    network = a_link(driver, **{"driver.mtu": "9000"})

    plug(driver, network, a, "10.0.12.1/30")
    plug(driver, network, b, "10.0.12.2/30")

    assert (only_link(a).mtu, only_link(b).mtu) == (9000, 9000)


def test_a_link_in_our_way_is_never_touched(driver: P2p, a: Box, netlink: Netlink) -> None:
    network = a_link(driver)
    netlink.apply([add_veth(waiting_name(network), "other", None)])

    with pytest.raises(LinkTaken):
        plug(driver, network, a, "10.0.12.1/30")

    assert netlink.link("other") is not None


def test_an_unknown_option_is_refused(driver: P2p) -> None:
    with pytest.raises(InvalidOption, match="driver p2p knows no option") as caught:
        driver.parse({"com.docker.network.driver.mut": "1400"})

    assert "driver.mtu" in caught.value.hint
