"""Fixtures of the drivers' tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.sublink import knows_kind
from drivers.kernel.sysctl import read_sysctl, write_sysctl
from tests.drivers.parents import stand_outside
from tests.drivers.wires import Stack, wire
from tests.support.box import Box

# Modules of tests by the kind of link that these cannot do without.
_BY_KIND = {"ipvlan": ["test_ipvlan.py"], "vlan": ["test_vlan.py", "test_bridge_vlan.py"], "vrf": ["test_vrf.py"]}


def _not_here() -> list[str]:
    """Tests of what this kernel has not: a skip would be a failure here, and other kernels run them."""
    with Netlink() as netlink:
        lacking = [kind for kind in _BY_KIND if not knows_kind(netlink, kind)]
    return [module for kind in lacking for module in _BY_KIND[kind]]


collect_ignore = _not_here() if os.geteuid() == 0 else []


@pytest.fixture
def netlink(host: Box) -> Iterator[Netlink]:
    with Netlink() as opened:
        yield opened


@pytest.fixture
def a(box: Callable[[str], Box]) -> Box:
    return box("a")


@pytest.fixture
def b(box: Callable[[str], Box]) -> Box:
    return box("b")


@pytest.fixture
def outside(host: Box, box: Callable[[str], Box]) -> Box:
    """A neighbour beyond the link "parent" of the host."""
    made = box("outside")
    stand_outside(host, made)
    return made


@pytest.fixture
def nft(host: Box) -> Iterator[NftWorker]:
    worker = NftWorker()
    yield worker
    worker.close()


@pytest.fixture
def stack(host: Box) -> Iterator[Stack]:
    stack = Stack()
    yield stack
    stack.close()


@pytest.fixture(params=["0", "1"], ids=["routed", "br_netfilter"])
def bridge_nf(request: pytest.FixtureRequest, host: Box) -> str:
    """Whether the host's firewall also sees what its bridges switch."""
    if read_sysctl("net/bridge/bridge-nf-call-iptables") is None:
        if request.param == "1":
            pytest.skip("br_netfilter is not in this kernel")
        return "0"
    for family in ("iptables", "ip6tables"):
        write_sysctl(f"net/bridge/bridge-nf-call-{family}", request.param)
    return str(request.param)


@pytest.fixture
def remote(host: Box, box: Callable[[str], Box]) -> Box:
    """Another host, at 192.0.2.2 and 2001:db8:2::2; ours is .1 and ::1."""
    made = box("remote")
    wire(host, made)
    return made
