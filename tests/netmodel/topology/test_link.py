"""x-link: p2p."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from netmodel.project import Project
from netmodel.topology.link import smallest_subnet
from tests.netmodel.topology.support import project, told


def text_of(network: str, a: str = "{}", b: str = "{}", more: str = "") -> str:
    return f"""services:
  a: {{image: host, networks: {{cable: {a}}}}}
  b: {{image: host, networks: {{cable: {b}}}}}
  {more}
networks:
  cable: {network}
"""


def loaded(tmp_path: Path, network: str, a: str = "{}", b: str = "{}") -> Project:
    return project(tmp_path, text_of(network, a, b))


def told_of(tmp_path: Path, network: str, more: str = "", a: str = "{}", b: str = "{}") -> list[str]:
    return told(tmp_path, text_of(network, a, b, more))


def test_it_is_a_network_of_driver_p2p(tmp_path: Path) -> None:
    found = loaded(tmp_path, "{x-link: p2p, ipam: {config: [{subnet: 10.1.0.0/30}]}}", "{ipv4_address: 10.1.0.1}")

    [cable] = found.networks
    assert cable.config.driver == "p2p"
    [pool] = cable.config.pools
    assert (pool.subnet, pool.gateway) == (ip_network("10.1.0.0/30"), None)


def test_its_ends_addresses_tell_its_subnets(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "{x-link: p2p}",
        "{ipv4_address: 10.0.12.1, ipv6_address: 'fd00:12::1'}",
        "{ipv4_address: 10.0.12.2, ipv6_address: 'fd00:12::2'}",
    )

    [cable] = found.networks
    assert [pool.subnet for pool in cable.config.pools] == [ip_network("10.0.12.0/30"), ip_network("fd00:12::/126")]
    assert cable.config.enable_ipv6


@pytest.mark.parametrize(
    ("addresses", "subnet"),
    [
        (["10.0.12.1", "10.0.12.2"], "10.0.12.0/30"),
        (["10.0.12.0", "10.0.12.1"], "10.0.12.0/31"),
        (["10.0.12.3", "10.0.12.2"], "10.0.12.2/31"),
        (["10.0.12.3", "10.0.12.4"], "10.0.12.0/29"),
        (["10.0.12.1", "10.0.12.254"], "10.0.12.0/24"),
        (["10.0.12.1"], "10.0.12.0/30"),
        (["10.0.12.4"], "10.0.12.4/31"),
        (["10.0.12.1", "10.0.13.1"], None),
        (["fd00::1", "fd00::2"], "fd00::/126"),
        (["fd00::", "fd00::1"], "fd00::/127"),
        (["fd00::1", "fd00::ffff:0:0:1"], "fd00::/64"),
        (["fd00::1", "fd00:1::1"], None),
    ],
)
def test_the_smallest_subnet(addresses: list[str], subnet: str | None) -> None:
    found = smallest_subnet([ip_address(address) for address in addresses])

    assert found == (None if subnet is None else ip_network(subnet))


def test_two_replicas_of_one_service_are_two_ends(tmp_path: Path) -> None:
    text = "services: {a: {image: host, scale: 2, networks: [cable]}}\nnetworks: {cable: {x-link: p2p}}"

    assert len(project(tmp_path, text).containers) == 2


def test_a_third_end_is_told_with_its_place(tmp_path: Path) -> None:
    [found] = told_of(tmp_path, "{x-link: p2p}", more="c: {image: host, scale: 2, networks: [cable]}")

    wrong = "a link joins exactly two containers, and 4 are attached: a, b, c, c"
    assert found.startswith(f"6:19: networks.cable.x-link: {wrong}")


def test_an_end_alone_is_told_unless_the_other_may_come_later(tmp_path: Path) -> None:
    text = "services: {a: {image: host, networks: [cable]}}\nnetworks: {cable: {KIND: p2p}}"

    [found] = told(tmp_path, text.replace("KIND", "x-link"))

    assert "a link joins exactly two containers, and only a is attached" in found
    assert told(tmp_path, text.replace("KIND", "driver")) == []


@pytest.mark.parametrize(
    ("network", "mistake"),
    [
        ("{x-link: p2q}", '6:19: networks.cable.x-link: there is no link "p2q"'),
        ("{x-link: p2p, driver: bridge}", "6:24: networks.cable.driver: bridge cannot stand beside x-link"),
        (
            "{x-link: p2p, ipam: {config: [{subnet: 10.1.0.0/30, gateway: 10.1.0.1}]}}",
            "6:62: networks.cable.ipam.config[0].gateway: has no place on a link between two containers",
        ),
        ("{external: true, x-link: p2p}", "6:27: networks.cable.x-link: has no place beside external"),
    ],
)
def test_told_of(tmp_path: Path, network: str, mistake: str) -> None:
    [found] = told_of(tmp_path, network)

    assert found.startswith(mistake)


def test_addresses_that_are_far_apart_need_a_subnet(tmp_path: Path) -> None:
    found = told_of(tmp_path, "{x-link: p2p}", a="{ipv4_address: 10.0.12.1}", b="{ipv4_address: 10.0.13.1}")

    assert len(found) == 2
    assert all("a chosen address needs a chosen subnet" in line for line in found)
