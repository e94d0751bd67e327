"""What an engine's settings do to all of its bridge networks, as packets find it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest

from drivers.api import Pair
from drivers.errors import CannotPublish
from drivers.firewall import Mark
from drivers.kernel.sysctl import read_sysctl, write_sysctl
from tests.drivers.wires import DROPPED_S, Stack, an_endpoint, anywhere, ask, configure, loopback, ping, route, serving
from tests.support.box import Box

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bridge_nf")]
Boxes = Callable[[str], Box]
V4, V6 = ("10.1.0.0/24", "10.1.0.2/24"), ("fd01::/64", "fd01::2/64")


@contextmanager
def an_engine(**settings: object) -> Iterator[Stack]:
    stack = Stack(**settings)  # type: ignore[arg-type]
    try:
        yield stack
    finally:
        stack.close()


def reachable(remote: Box) -> None:
    route(remote, "10.0.0.0/8", "192.0.2.1")
    route(remote, "fd00::/8", "2001:db8:2::1")


def test_direct_routing_opens_published_ports_to_everybody(remote: Box, box: Boxes) -> None:
    """allow-direct-routing: what is not published, or for the host alone, stays shut."""
    a, b = box("a"), box("b")
    reachable(remote)
    with an_engine(direct_routing=True) as stack, serving(a), serving(a, 81), serving(a, 82):
        network = stack.network("n", V4[0], V6[0])
        endpoint = stack.attach(network, a, V4[1], V6[1])
        stack.attach(stack.network("two", "10.2.0.0/24"), b, "10.2.0.2/24")

        ports = stack.bridge.publish(network, endpoint, [anywhere(8080), loopback(8082, to=82)])

        assert ask(remote, "10.1.0.2") == "a heard 192.0.2.2"
        assert ask(remote, "fd01::2") == "a heard 2001:db8:2::2"
        assert ask(b, "10.1.0.2").startswith("a heard ")
        assert ask(remote, "192.0.2.1", 8080) == "a heard 192.0.2.2"
        assert ask(remote, "10.1.0.2", 81, timeout_s=DROPPED_S) == "silence"
        assert ask(remote, "10.1.0.2", 82, timeout_s=DROPPED_S) == "silence"
        assert ping(remote, "10.1.0.2", timeout_s=DROPPED_S) is None
        stack.bridge.unpublish(network, endpoint, ports)
        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        assert stack.firewall.opened() == frozenset()


def test_direct_routing_leads_into_no_internal_network(remote: Box, box: Boxes) -> None:
    a = box("a")
    reachable(remote)
    with an_engine(direct_routing=True) as stack, serving(a):
        network = stack.network("n", V4[0], internal=True, **{"netmodel.bridge.publish_to_host": "true"})
        endpoint = stack.attach(network, a, V4[1])
        stack.bridge.publish(network, endpoint, [anywhere(8080)])

        assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_nothing_is_relayed_where_that_is_not_wanted(host: Box, remote: Box, box: Boxes, udp: bool) -> None:
    """userland-proxy: false. What the kernel translates is published; what it does not is as if nobody listened."""
    a = box("a")
    protocol = "udp" if udp else "tcp"
    with an_engine(relays=False) as stack, serving(a):
        network = stack.network("n", V4[0])
        endpoint = stack.attach(network, a, V4[1])

        published = stack.bridge.publish(network, endpoint, [anywhere(8080, protocol=protocol)])

        assert ask(remote, "192.0.2.1", 8080, udp=udp) == "a heard 192.0.2.2"
        assert ask(host, "127.0.0.1", 8080, udp=udp) == "a heard 10.1.0.1"
        for asker, address in ((remote, "2001:db8:2::1"), (host, "2001:db8:2::1"), (host, "::1")):
            assert ask(asker, address, 8080, udp=udp, timeout_s=DROPPED_S) in ("refused", "silence")
        [[reached]] = stack.bridge.reached(network, endpoint, published)
        assert str(getattr(reached, "target", "")) == "10.1.0.2"
        for at, why in (("::1", "does not translate .* ::1"), ("2001:db8:2::1", "no IPv6 address, and nothing")):
            with pytest.raises(CannotPublish, match=why):
                stack.bridge.publish(network, endpoint, [loopback(8081, at=at, protocol=protocol)])
        stack.bridge.unpublish(network, endpoint, [*published, loopback(8082, at="::1")])  # of before it was set so


def test_packets_with_the_accepted_mark_reach_every_port(host: Box, remote: Box, box: Boxes) -> None:
    """TestAcceptFwMark: the administrator marks what comes by a link (14 & 3 == 2); other marks change nothing."""
    a = box("a")
    reachable(remote)
    with an_engine(accepted=Mark(2, 3)) as stack, serving(a):
        stack.attach(stack.network("n", V4[0], V6[0]), a, V4[1], V6[1])
        stack.attach(stack.network("inner", "10.3.0.0/24", internal=True), a, "10.3.0.2/24")

        for mark in ("", "0xd"):
            if mark:
                set_mark(host, mark)
            assert ask(remote, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
            assert ask(remote, "fd01::2", udp=True, timeout_s=DROPPED_S) == "silence"
            assert ping(remote, "10.1.0.2", timeout_s=DROPPED_S) is None
        set_mark(host, "0xe")
        assert ask(remote, "10.1.0.2") == "a heard 192.0.2.2"
        assert ask(remote, "fd01::2", udp=True) == "a heard 2001:db8:2::2"
        assert ping(remote, "10.1.0.2") is not None
        assert ask(remote, "10.3.0.2", timeout_s=DROPPED_S) == "silence"


def set_mark(host: Box, mark: str) -> None:
    host.run("nft", "add", "table", "inet", "marks")
    host.run("nft", "add", "chain", "inet", "marks", "c", "{ type filter hook prerouting priority raw; }")
    host.run("nft", "flush", "chain", "inet", "marks", "c")
    host.run("nft", "add", "rule", "inet", "marks", "c", "iifname", "wan2", "meta", "mark", "set", mark)


def test_forwarding_is_left_off_and_said_to_be(host: Box, remote: Box, box: Boxes) -> None:
    """ip-forward: false."""
    a = box("a")
    write_sysctl("net/ipv4/ip_forward", "0")
    with an_engine(may_forward=False) as stack, serving(remote):
        network = stack.network("n", V4[0])
        stack.attach(network, a, V4[1])
        inner = stack.network("inner", "10.3.0.0/24", internal=True)

        assert read_sysctl("net/ipv4/ip_forward") == "0"
        assert stack.bridge.forwarding_changed == ()
        assert [one for one in stack.bridge.advice(network) if "net.ipv4.ip_forward of this host is off" in one]
        assert stack.bridge.advice(inner) == []
        assert ask(a, "192.0.2.2", timeout_s=DROPPED_S) == "silence"
        write_sysctl("net/ipv4/ip_forward", "1")
        assert stack.bridge.advice(network) == []
        assert ask(a, "192.0.2.2") == "remote heard 192.0.2.1"


def test_another_machine_of_the_network_may_be_the_way_out(host: Box, box: Boxes) -> None:
    """default-gateway: containers send what leaves the network to it, and still meet the host."""
    a, router = box("a"), box("router")
    router.run("ip", "address", "add", "198.51.100.9/32", "dev", "lo")
    with an_engine() as stack, serving(host), serving(router):
        network = stack.network("n", V4[0])
        pools = tuple(replace(pool, way_out=ip_address("10.1.0.9")) for pool in network.pools)
        stack.attach(network, router, "10.1.0.9/24")
        endpoint = an_endpoint(network, a, V4[1])
        attachment = stack.bridge.join(replace(network, pools=pools), endpoint, a.path)
        configure(a, endpoint, attachment)
        stack.bridge.wait_until_carried(network, endpoint)

        assert attachment.gateways == (ip_address("10.1.0.9"),)
        assert ask(a, "198.51.100.9") == "router heard 10.1.0.2"
        assert ask(a, "10.1.0.1") == "host heard 10.1.0.2"


def test_endpoints_that_are_kept_apart_reach_allowed_ports_by_the_detour(box: Boxes) -> None:
    """A legacy link with icc=false: one way, that port, in both families, until it is forbidden again."""
    web, client, other = box("web"), box("client"), box("other")
    with an_engine() as stack, serving(web), serving(web, 81), serving(client):
        network = stack.network("n", V4[0], V6[0], enable_icc="false")
        boxes = {web: 2, client: 3, other: 4}
        for one, number in boxes.items():
            stack.attach(network, one, f"10.1.0.{number}/24", f"fd01::{number}/64")
        mac = stack.bridge.detour(network)
        for one in boxes:
            send_by(one, mac, *[f"{prefix}{number}" for prefix in ("10.1.0.", "fd01::") for number in boxes.values()])
        assert ask(client, "10.1.0.2", timeout_s=DROPPED_S) == "silence"

        pairs = [
            Pair(source=ip_address(f"{at}3"), target=ip_address(f"{at}2"), protocol="tcp", port=80)
            for at in ("10.1.0.", "fd01::")
        ]
        stack.bridge.allow(network, pairs)

        for _ in range(3):  # also after the kernel has told of a shorter way
            assert ask(client, "10.1.0.2") == "web heard 10.1.0.3"
            assert ask(client, "fd01::2") == "web heard fd01::3"
        for asker, address, port, udp in (
            (client, "10.1.0.2", 81, False),
            (client, "fd01::2", 80, True),
            (other, "10.1.0.2", 80, False),
            (web, "10.1.0.3", 80, False),
        ):
            assert ask(asker, address, port, udp=udp, timeout_s=DROPPED_S) == "silence"
        assert ping(client, "10.1.0.2", timeout_s=DROPPED_S) is None
        stack.bridge.forbid(network, pairs)
        assert ask(client, "10.1.0.2", timeout_s=DROPPED_S) == "silence"
        assert stack.bridge.keeps_apart(network)
        assert not stack.bridge.keeps_apart(stack.network("m", "10.2.0.0/24"))


def send_by(box: Box, mac: str, *addresses: str) -> None:
    link = next(line.split()[1].partition("@")[0] for line in box.run("ip", "-o", "link").stdout.splitlines()[1:])
    for address in addresses:
        if f" {address}/" not in box.run("ip", "address").stdout:
            box.run("ip", "neighbour", "replace", address, "lladdr", mac, "dev", link, "nud", "permanent")
