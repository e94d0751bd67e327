"""Rates of endpoints: told by what the queues counted, by what arrived, and by how long that took at least."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.api import Endpoint, Network
from drivers.errors import InvalidOption
from drivers.kernel.errors import KernelError
from drivers.kernel.link import delete_link
from drivers.kernel.qdisc import Queue, get_queues, read_queue
from tests.drivers.wires import Stack, an_endpoint
from tests.support.box import Box

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]
INGRESS, EGRESS = "netmodel.endpoint.ingress_rate", "netmodel.endpoint.egress_rate"
AMOUNT = 300_000  # bytes


def attached(stack: Stack, box: Box, **options: str) -> tuple[Network[object], Endpoint]:
    network = stack.network("n", "10.1.0.0/24")
    return network, stack.attach(network, box, "10.1.0.2/24", **options)


def queues(stack: Stack) -> dict[str, Queue]:
    """The token buckets of the host's links, by the first letters of these: "nm" of an endpoint, "ni" of its ifb."""
    names = {link.index: link.name for link in stack.netlink.links()}
    found = [one for one in stack.netlink.get(get_queues(), read_queue) if one.kind == "tbf"]
    return {names[one.link][:2]: one for one in found}


def transfer(sender: Box, receiver: Box, address: str) -> float:
    """Seconds that it takes until all has arrived."""
    with receiver.open(lambda: socket.create_server((address, 5000))) as server:
        server.settimeout(10)
        got: list[int] = []

        def receive() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                while part := connection.recv(65536):
                    got.append(len(part))

        thread = threading.Thread(target=receive)
        thread.start()
        with sender.open(lambda: socket.create_connection((address, 5000), timeout=10)) as client:
            began = time.monotonic()
            client.sendall(bytes(AMOUNT))
            client.shutdown(socket.SHUT_WR)
            thread.join()
        assert sum(got) == AMOUNT
        return time.monotonic() - began


def test_what_a_container_receives_passes_no_faster(stack: Stack, host: Box, a: Box) -> None:
    attached(stack, a, **{INGRESS: "4mbit"})

    took = transfer(host, a, "10.1.0.2")

    assert took >= (AMOUNT - 16 * 1024) / 500_000
    seen = queues(stack)
    assert list(seen) == ["nm"]
    assert seen["nm"].bytes > AMOUNT
    assert seen["nm"].over_limit > 0
    assert transfer(a, host, "10.1.0.1") < took  # the other way is free


def test_what_a_container_sends_passes_no_faster(stack: Stack, host: Box, a: Box) -> None:
    attached(stack, a, **{EGRESS: "4mbit", "netmodel.endpoint.egress_burst": "32k"})

    took = transfer(a, host, "10.1.0.1")

    assert took >= (AMOUNT - 32 * 1024) / 500_000
    seen = queues(stack)
    assert list(seen) == ["ni"]
    assert seen["ni"].bytes > AMOUNT
    assert seen["ni"].over_limit > 0
    assert transfer(host, a, "10.1.0.2") < took


def test_nobody_in_the_container_can_lift_a_limit(stack: Stack, host: Box, a: Box) -> None:
    """Not even who may do everything to its own links."""
    attached(stack, a, **{INGRESS: "4mbit", EGRESS: "4mbit"})

    shown = a.run("tc", "qdisc", "show").stdout.splitlines()

    assert [line.split()[1] for line in shown] == ["noqueue", "noqueue"]  # lo, and its own end of the link
    assert sorted(queues(stack)) == ["ni", "nm"]


def test_leaving_takes_everything_along_and_joining_again_brings_it_back(stack: Stack, host: Box, a: Box) -> None:
    network, endpoint = attached(stack, a, **{INGRESS: "1mbit", EGRESS: "1mbit"})
    stack.bridge.leave(network, endpoint)
    stack.reaper.drain()
    assert [link.name for link in stack.netlink.links() if link.name[:2] in ("ni", "nm")] == []

    stack.bridge.join(network, endpoint, a.path)
    assert sorted(queues(stack)) == ["ni", "nm"]
    # As after a crash in the middle of it: what is there already is made anew.
    stack.bridge.join(network, endpoint, a.path)
    assert sorted(queues(stack)) == ["ni", "nm"]


def test_an_endpoint_whose_namespace_ended_leaves_nothing(stack: Stack, host: Box, box: Boxes) -> None:
    """No leave() then: its links went with it, but for what the host alone has."""
    network, endpoint = attached(stack, box("a"), **{EGRESS: "1mbit"})
    stack.netlink.apply([delete_link(f"nm{endpoint.id[:12]}")])

    stack.bridge.delete_endpoint(network, endpoint)
    stack.reaper.drain()

    assert [link.name for link in stack.netlink.links() if link.name[:2] in ("ni", "nm")] == []


def test_a_join_that_fails_leaves_no_link(stack: Stack, host: Box, a: Box) -> None:
    network = stack.network("n", "10.1.0.0/24")
    endpoint = replace(an_endpoint(network, a, "10.1.0.2/24"), options={EGRESS: "1mbit"})
    host.run("ip", "link", "add", f"ni{endpoint.id[:12]}", "type", "ifb")  # somebody else's, in our way

    with pytest.raises(Exception, match=f"link ni{endpoint.id[:12]} exists already and is not ours"):
        stack.bridge.join(network, endpoint, a.path)
    with pytest.raises(KernelError):
        stack.bridge.join(network, replace(endpoint, options={INGRESS: "1mbit"}), Path("/missing"))

    stack.reaper.drain()
    assert [link.name for link in stack.netlink.links() if link.name.startswith("nm")] == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({INGRESS: "fast"}, "'fast' is not a rate from 8kbit to 1tbit a second"),
        ({INGRESS: "1kbit"}, "'1kbit' is not a rate"),
        ({EGRESS: "1mbit", "netmodel.endpoint.egress_burst": "-1"}, "'-1' is not a size from 1k to 1g"),
        ({"netmodel.endpoint.egress_burst": "1m"}, f"is of no use without {EGRESS}"),
    ],
)
def test_options_that_do_not_fit(stack: Stack, a: Box, options: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidOption, match=why) as refusal:
        attached(stack, a, **options)
    assert refusal.value.hint


@pytest.mark.parametrize(("rate", "bits"), [("8000", 8_000), ("1.5mbit", 1_500_000), ("40gbit", 40_000_000_000)])
def test_rates_are_what_the_kernel_shows(stack: Stack, host: Box, a: Box, rate: str, bits: int) -> None:
    attached(stack, a, **{INGRESS: rate})
    shown = host.run("tc", "-json", "qdisc", "show").stdout
    assert f'"rate":{bits // 8}' in shown
