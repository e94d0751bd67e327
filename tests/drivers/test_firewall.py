"""The table itself: golden rule sets, transactions, and what survives whom."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from drivers.api import Pair
from drivers.elements import Linked, Opening, Publication
from drivers.firewall import Firewall, Mark
from drivers.kernel.errors import KernelError
from drivers.kernel.nft import NftWorker
from drivers.network_rules import NetworkRules
from tests.drivers.wires import ROOT, Stack, anywhere, ask, serving
from tests.support.box import Box

pytestmark = pytest.mark.kernel
GOLDEN = Path(__file__).parent / "golden"

OPEN = NetworkRules(bridge="br-open")
KINDS = [
    OPEN,
    NetworkRules(bridge="br-internal", internal=True, masquerade=()),
    NetworkRules(bridge="br-no-icc", icc=False),
    NetworkRules(bridge="br-unmasked", masquerade=()),
    NetworkRules(bridge="br-unprotected", unprotected=(4, 6)),
    NetworkRules(bridge="br-routed", masquerade=(4,), routed=(6,)),
    NetworkRules(bridge="br-trusting", trusted=("wan2", "wan3")),
    NetworkRules(bridge="br-direct", open_to_all=True),
    NetworkRules(bridge="br0.10", beneath="br0"),
    NetworkRules(
        bridge="br-vrf", vrf="blue", subnets=(ip_network("10.7.0.0/24"), ip_network("fd07::/64")), routed=(6,)
    ),
    NetworkRules(bridge="br-source", sources=(ip_address("192.0.2.9"), ip_address("2001:db8:2::9"))),
]
WEB = Publication(protocol="tcp", host_port=8080, target=ip_address("10.1.0.2"), target_port=80)
PORTS = [
    WEB,
    Publication(protocol="tcp", host_port=8080, target=ip_address("fd01::2"), target_port=80),
    Publication(
        protocol="udp",
        host_port=53,
        target=ip_address("10.1.0.3"),
        target_port=5353,
        host_address=ip_address("127.0.0.1"),
    ),
    Publication(
        protocol="sctp",
        host_port=9,
        target=ip_address("fd01::3"),
        target_port=9,
        host_address=ip_address("2001:db8::1"),
    ),
]
OPENINGS = [
    Opening(protocol="tcp", target=ip_address("10.1.0.2"), target_port=80),
    Opening(protocol="udp", target=ip_address("fd01::2"), target_port=53),
]
PAIRS = [
    Linked(Pair(source=ip_address("10.1.0.3"), target=ip_address("10.1.0.2"), protocol="tcp", port=80)),
    Linked(Pair(source=ip_address("fd01::3"), target=ip_address("fd01::2"), protocol="sctp", port=9)),
]


@pytest.fixture
def firewall(nft: NftWorker) -> Iterator[Firewall]:
    firewall = Firewall(nft, ROOT)
    firewall.install()
    yield firewall
    firewall.close()


def compare(firewall: Firewall, name: str) -> None:
    """With UPDATE_GOLDEN=1 in the environment, write the file instead."""
    golden = GOLDEN / f"{name}.nft"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(firewall.listing())
    assert firewall.listing() == golden.read_text()


def test_golden_empty(firewall: Firewall) -> None:
    compare(firewall, "empty")


def test_golden_accepted_mark(nft: NftWorker) -> None:
    """Two constants in one rule; the rest of the table is as without."""
    firewall = Firewall(nft, ROOT, Mark(2, 3))
    firewall.install()
    compare(firewall, "mark")
    firewall.close()


@pytest.mark.parametrize("text", ["", "x", "-1", "010", "1/", "1/2/3", "0x100000000", "1/0x100000000", "5/3"])
def test_no_marks(text: str) -> None:
    with pytest.raises(ValueError, match=r"mark|MARK"):
        Mark.read(text)


def test_marks() -> None:
    assert [Mark.read(text) for text in ("2", "0x10", "2/0xF")] == [Mark(2), Mark(16), Mark(2, 15)]


def test_golden_kinds_of_networks(firewall: Firewall) -> None:
    for network in KINDS:
        firewall.add_network(network)
    compare(firewall, "networks")


def test_golden_published_ports(firewall: Firewall) -> None:
    firewall.add_network(OPEN)
    firewall.publish(PORTS)
    compare(firewall, "published")


def test_golden_open_ports(firewall: Firewall) -> None:
    firewall.add_network(NetworkRules(bridge="br-routed", masquerade=(), routed=(4, 6)))
    firewall.publish([*OPENINGS, *PAIRS])
    compare(firewall, "opened")


def test_everything_added_can_be_removed(firewall: Firewall) -> None:
    for network in KINDS:
        firewall.add_network(network)
    firewall.publish(PORTS)
    firewall.publish([*OPENINGS, *PAIRS])
    assert firewall.published() == frozenset(PORTS)
    assert firewall.opened() == frozenset(OPENINGS)
    assert firewall.bridges() == {network.bridge for network in KINDS}

    for _ in range(2):
        firewall.unpublish([*PORTS, *OPENINGS, *PAIRS])
        for network in KINDS:
            firewall.remove_network(network.bridge)

    compare(firewall, "empty")


def test_installing_again_keeps_what_is_there(firewall: Firewall) -> None:
    firewall.add_network(OPEN)
    firewall.publish(PORTS)

    firewall.install()

    compare(firewall, "published")


def test_of_many_ports_all_are_published_or_none(firewall: Firewall) -> None:
    """More than one message to the kernel holds."""
    ports = [replace(WEB, host_port=20000 + number) for number in range(1200)]
    last = replace(ports[-1], target_port=81)
    firewall.publish([last])

    with pytest.raises(KernelError) as refusal:
        firewall.publish(ports)

    assert refusal.value.errno == errno.EEXIST
    assert firewall.published() == {last}
    firewall.unpublish([last])
    firewall.publish(ports)
    assert firewall.published() == set(ports)


def test_a_port_that_goes_elsewhere_is_refused_and_nothing_changes(firewall: Firewall) -> None:
    firewall.publish([WEB])
    other = Publication(protocol="tcp", host_port=8080, target=ip_address("10.1.0.9"), target_port=80)
    free = Publication(protocol="tcp", host_port=8081, target=ip_address("10.1.0.9"), target_port=80)

    with pytest.raises(KernelError, match="publish ports: File exists"):
        firewall.publish([free, other])
    firewall.unpublish([other, free])

    assert firewall.published() == {WEB}


def test_a_network_may_change_its_mind(firewall: Firewall) -> None:
    firewall.add_network(NetworkRules(bridge="br-open", icc=False, internal=True))
    firewall.add_network(OPEN)
    firewall.publish(PORTS)

    compare(firewall, "published")


def test_a_flushed_ruleset_comes_back_whole(firewall: Firewall, nft: NftWorker) -> None:
    nft.run("flush ruleset")
    assert not firewall.installed()
    assert firewall.listing() == ""

    firewall.restore([OPEN], PORTS)

    assert firewall.installed()
    compare(firewall, "published")


def test_restoring_removes_what_is_not_declared(firewall: Firewall) -> None:
    for network in KINDS:
        firewall.add_network(network)
    firewall.publish([Publication(protocol="tcp", host_port=1, target=ip_address("10.9.9.9"), target_port=1)])

    firewall.restore([OPEN], PORTS)

    compare(firewall, "published")


def test_the_users_own_rules_are_kept(firewall: Firewall, nft: NftWorker) -> None:
    nft.run(f"add rule {firewall.table} user ip saddr 198.51.100.0/24 drop")

    firewall.install()
    firewall.restore([OPEN], PORTS)
    firewall.add_network(OPEN)

    assert "chain user {\n\t\tip saddr 198.51.100.0/24 drop\n\t}" in firewall.listing()


def test_two_engines_do_not_see_each_other(firewall: Firewall, nft: NftWorker) -> None:
    other = Firewall(nft, "0badcafe")
    other.install()
    firewall.publish([WEB])

    assert other.published() == frozenset()
    other.uninstall()
    other.uninstall()

    assert firewall.installed()
    assert not other.installed()
    other.close()


def test_the_user_chain_is_seen_before_our_rules(stack: Stack, remote: Box, nft: NftWorker) -> None:
    network, a = stack.network("n", "10.1.0.0/24"), Box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    stack.bridge.publish(network, endpoint, [anywhere(8080)])

    with serving(a):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        nft.run(f"add rule {stack.firewall.table} user ip saddr 192.0.2.2 reject with icmp type port-unreachable")
        assert ask(remote, "192.0.2.1", 8080) == "refused"
    a.close()


def test_a_restored_firewall_carries_packets_again(stack: Stack, host: Box, remote: Box, nft: NftWorker) -> None:
    network, a = stack.network("n", "10.1.0.0/24"), Box("a")
    endpoint = stack.attach(network, a, "10.1.0.2/24")
    ports = stack.bridge.publish(network, endpoint, [anywhere(8080)])
    nft.run("flush ruleset")

    assert stack.bridge.restore([(network, [(endpoint, ports, True)])]) == []

    with serving(a):
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(host, "127.0.0.1", 8080) == "a heard 10.1.0.1"
    a.close()


def filled(firewall: Firewall, nft: NftWorker) -> str:
    firewall.add_network(OPEN)
    firewall.publish([*PORTS, *OPENINGS])
    nft.run(f"add rule {firewall.table} user ip saddr 198.51.100.0/24 drop")
    assert not firewall.repair()  # whoever watches the rules calls it at every change of them
    return firewall.listing()


@pytest.mark.parametrize(
    "damage",
    ["flush ruleset", "flush table {0}", "delete table {0}", "flush chain {0} forward", "flush chain {0} direct"],
)
def test_what_somebody_took_away_comes_back(firewall: Firewall, nft: NftWorker, damage: str) -> None:
    """The administrator's own rules, too, when they went with the rest."""
    before = filled(firewall, nft)

    nft.run(damage.format(firewall.table))

    assert firewall.repair()
    assert firewall.listing() == before
    assert not firewall.repair()


def test_what_the_administrator_flushes_alone_stays_flushed(firewall: Firewall, nft: NftWorker) -> None:
    filled(firewall, nft)

    nft.run(f"flush chain {firewall.table} user")
    assert not firewall.repair()
    nft.run("flush ruleset")
    assert firewall.repair()

    assert not firewall.has_user_rules()


def test_rules_of_the_administrators_that_came_with_the_flush_are_not_doubled(
    firewall: Firewall, nft: NftWorker
) -> None:
    """As when /etc/nftables.conf, which begins by flushing everything, also fills our user chain."""
    before = filled(firewall, nft)

    nft.run(f"flush ruleset\ntable {firewall.table} {{ chain user {{ ip saddr 198.51.100.0/24 drop; }}; }}")

    assert firewall.repair()
    assert firewall.listing().count("198.51.100.0/24") == before.count("198.51.100.0/24")


def test_who_is_quicker_than_the_news_of_a_flush_loses_nothing(firewall: Firewall, nft: NftWorker) -> None:
    filled(firewall, nft)
    late = Publication(protocol="tcp", host_port=9999, target=ip_address("10.1.0.2"), target_port=80)

    nft.run("flush ruleset")
    firewall.publish([late])

    assert firewall.published() == {*PORTS, late}
    assert firewall.bridges() == {OPEN.bridge}


def test_a_table_that_we_took_away_ourselves_is_not_brought_back(firewall: Firewall, nft: NftWorker) -> None:
    filled(firewall, nft)
    firewall.uninstall()
    assert not firewall.repair()
    assert not firewall.installed()
