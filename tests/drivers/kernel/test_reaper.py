"""Retired links: their names are free at once, they are deleted soon, and an earlier engine's too."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from drivers.kernel.bridge import add_bridge
from drivers.kernel.link import add_veth, set_alias, set_group
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def reaper(host: Box) -> Iterator[Reaper]:
    reaper = Reaper("deadbeef")
    yield reaper
    reaper.close()


def names(netlink: Netlink) -> set[str]:
    return {link.name for link in netlink.links()} - {"lo"}


def test_a_retired_links_name_is_free_at_once(netlink: Netlink, reaper: Reaper, box: Callable[[str], Box]) -> None:
    a = box("a")
    netlink.apply([add_bridge("br0"), add_veth("nm1", "nm1", a.fd, up=True), set_alias("nm1", "ours")])

    reaper.retire(["nm1", "br0"])

    retired = [link for link in netlink.links() if link.group == reaper.group]
    assert len(retired) == 2
    assert not any(link.up or link.master for link in retired)
    assert "ours" in {link.alias for link in retired}
    netlink.apply([add_bridge("br0"), add_veth("nm1", "nm2", a.fd)])
    reaper.drain()
    assert names(netlink) == {"br0", "nm1"}


def test_retired_links_go_without_being_asked_for(netlink: Netlink, reaper: Reaper) -> None:
    netlink.apply([add_bridge("br0")])

    reaper.retire(["br0"])

    eventually(lambda: names(netlink) == set())


def test_what_is_gone_is_no_error(reaper: Reaper) -> None:
    reaper.retire(["missing"])
    reaper.drain()


def test_drain_takes_what_an_earlier_engine_left_and_nothing_of_another_root(netlink: Netlink, reaper: Reaper) -> None:
    netlink.apply([add_bridge("br0"), set_group("br0", reaper.group), add_bridge("br1"), set_group("br1", 7)])

    reaper.drain()

    assert names(netlink) == {"br1"}


def test_the_end_of_a_namespace_may_be_faster(netlink: Netlink, reaper: Reaper, box: Callable[[str], Box]) -> None:
    a = Box("short-lived")
    netlink.apply([add_veth(f"nm{number}", f"nm{number}", a.fd) for number in range(5)])
    a.close()

    reaper.retire([f"nm{number}" for number in range(5)])
    reaper.drain()

    eventually(lambda: names(netlink) == set())
