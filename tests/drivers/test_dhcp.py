"""The DHCP client, against real servers and against anybody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers import dhcp
from drivers.api import Route
from drivers.dhcp import Client, NoAnswer, Refused, Stop, Stopped
from drivers.kernel.dhcp_message import Answer, Question, pack, unpack
from drivers.kernel.dhcp_socket import frame
from drivers.kernel.link import set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.sublink import add_macvlan
from tests.support.box import Box
from tests.support.dhcp import Dnsmasq, serving
from tests.support.wait import eventually

MAC = "02:00:00:00:05:01"


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


@pytest.fixture
def client(host: Box, outside: Box, a: Box) -> Client:
    """Behind a macvlan on "parent"."""
    with Netlink(host.path) as here, Netlink(a.path) as there:
        here.apply([set_up("parent"), add_macvlan("eth0", here.index("parent"), "bridge", a.fd, MAC)])
        there.apply([set_up("eth0")])
    return Client(netns=a.path, link="eth0", mac=MAC, client_id=b"\x01\x02\0\0\0\x05\x01", host_name="web")


def server(outside: Box, directory: Path, *options: str) -> Dnsmasq:
    return Dnsmasq(outside, directory, "10.5.0.10", "10.5.0.60", *options)


@pytest.mark.kernel
def test_a_whole_life(client: Client, outside: Box, a: Box, host: Box, tmp_path: Path, stop: Stop) -> None:
    options = (
        "--dhcp-option=option:router,10.5.0.254,10.5.0.253",
        "--dhcp-option=option:dns-server,10.5.0.254,10.5.0.253",
        "--dhcp-option=option:domain-search,lab.example,example",
        "--dhcp-option=option:mtu,1400",
    )
    with serving(server(outside, tmp_path, *options)) as running:
        lease = dhcp.acquire(client, stop, 10)
        a.run("ip", "address", "add", str(lease.address), "dev", "eth0")
        again = dhcp.acquire(client, stop, 10, lease)
        rebound = dhcp.rebind(client, lease, stop, 4)
        renewed = dhcp.renew(client, lease, stop, 4)
        known = running.leases()
        dhcp.release(lease, "parent", MAC, client.client_id)

        eventually(lambda: running.leases() == {}, what="the lease")

    assert lease.address.network == ip_network("10.5.0.0/24")
    assert lease.server == lease.gateway == IPv4Address("10.5.0.254")
    assert lease.name_servers == (IPv4Address("10.5.0.254"), IPv4Address("10.5.0.253"))
    assert (lease.search, lease.mtu, lease.routes) == (("lab.example", "example"), 1400, ())
    assert {one.address for one in (lease, again, rebound, renewed)} == {lease.address}
    assert known[str(lease.address.ip)][1:] == [MAC, "web", f"01:{MAC}"]
    with Netlink(outside.path) as there:
        wan = there.link("wan")
    assert wan is not None
    assert {lease.server_mac, rebound.server_mac, renewed.server_mac} == {wan.mac}
    ends = [one.expires_at for one in (lease, again, rebound, renewed)]
    assert ends == sorted(ends, key=str)
    assert len(set(ends)) == 4


@pytest.mark.kernel
def test_another_server_refuses(client: Client, outside: Box, a: Box, tmp_path: Path, stop: Stop) -> None:
    """By word to everybody, whichever way it was asked; and whoever remembers is given something else."""
    with serving(server(outside, tmp_path)) as running:
        lease = dhcp.acquire(client, stop, 10)
    running.forget()
    a.run("ip", "address", "add", str(lease.address), "dev", "eth0")

    with serving(Dnsmasq(outside, tmp_path, "10.5.0.200", "10.5.0.210")):
        for ask in (dhcp.renew, dhcp.rebind):
            with pytest.raises(Refused, match=f"refuses {lease.address.ip}"):
                ask(client, lease, stop, 4)
        other = dhcp.acquire(client, stop, 10, lease)

    assert other.address.ip >= IPv4Address("10.5.0.200")


@pytest.mark.kernel
def test_nobody_answers(client: Client, a: Box, stop: Stop) -> None:
    """In vain it waits no longer than it was told, and not at all once it was told to stop."""
    with pytest.raises(NoAnswer, match="no DHCP server answered"):
        dhcp.acquire(client, stop, 0.3)
    assert a.run("ss", "-Hna0").stdout == ""

    stop.set()
    with pytest.raises(Stopped):
        dhcp.acquire(client, stop, 60)


@pytest.mark.kernel
def test_what_others_send_is_no_answer(client: Client, outside: Box, tmp_path: Path, stop: Stop) -> None:
    """Garbage at the client's port, before and while the server answers."""
    sender = outside.open(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    sender.bind(("wan", 0))
    # Built as a client's; the ports are the other way round in what a server sends.
    sent = frame(b"\x02\x01\x06" + b"\xff" * 300, bytes(6), b"\xff" * 6, IPv4Address(0), IPv4Address("255.255.255.255"))
    garbage = sent[:34] + b"\0\x43\0\x44" + sent[38:40] + b"\0\0" + sent[42:]
    with closing(sender), serving(server(outside, tmp_path)):
        for length in (len(garbage), 300, 60, 43):
            sender.send(garbage[:length])
        lease = dhcp.acquire(client, stop, 10)

    assert lease.address.network == ip_network("10.5.0.0/24")


def an_answer(**options: object) -> bytes:
    """An acknowledgement as a server would send it."""
    from pyroute2.dhcp.dhcp4msg import dhcp4msg

    known = {"message_type": 5, "server_id": "10.5.0.254", "lease_time": 120, **options}
    fields = {"op": 2, "xid": 7, "yiaddr": "10.5.0.9", "chaddr": MAC, "options": known}
    return bytes(dhcp4msg(fields).encode().buf)


def with_option(code: int, value: bytes) -> bytes:
    """The same with one more, which the codec cannot write itself."""
    return an_answer()[:-1] + bytes((code, len(value))) + value + b"\xff"


def read(data: bytes) -> Answer:
    answer = unpack(data)
    assert answer is not None
    return answer


def test_classless_routes() -> None:
    """Source: the examples of RFC 3442."""
    routes = bytes((0, 10, 17, 0, 1)) + bytes((24, 10, 17, 0, 10, 0, 0, 1)) + bytes((25, 10, 229, 0, 128, 0, 0, 0, 0))

    assert read(with_option(121, routes)).routes == (
        (ip_network("0.0.0.0/0"), IPv4Address("10.17.0.1")),
        (ip_network("10.17.0.0/24"), IPv4Address("10.0.0.1")),
        (ip_network("10.229.0.128/25"), None),
    )
    assert unpack(with_option(121, routes[:-1])) is None
    assert unpack(with_option(121, bytes((33, 10, 0, 0, 0, 0, 1, 2, 3, 4)))) is None


def test_search_lists() -> None:
    """With the pointers of RFC 3397's example; a name that no resolv.conf could hold is left out."""
    names = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"

    assert read(with_option(119, names)).search == ("eng.apple.com", "marketing.apple.com")
    assert read(an_answer(domain_name="lab.example")).search == ("lab.example",)
    assert read(an_answer(domain_name="a\nnameserver 6.6.6.6")).search == ("a", "nameserver", "6.6.6.6")
    assert read(with_option(119, b"\x05a\nb c\x00")).search == ()
    for circle in (b"\xc0\x00", b"\x01a\xc0\x00", b"\x00\x01a\xc0\x01", b"\x01a\xc0\x04\x01b\xc0\x00"):
        assert unpack(with_option(119, circle)) is None


@pytest.mark.parametrize(
    ("options", "times"),
    [
        ({"lease_time": 100}, (50, 87.5, 100)),
        ({"lease_time": 100, "renewal_time": 10, "rebinding_time": 20}, (10, 20, 100)),
        ({"lease_time": 100, "renewal_time": 99, "rebinding_time": 200}, (50, 87.5, 100)),
        ({"lease_time": -1, "renewal_time": -1, "rebinding_time": -1}, (None, None, None)),
    ],
)
def test_times(options: dict[str, int], times: tuple[float | None, ...]) -> None:
    """Those that make no sense are replaced; the first comes a little earlier, not for all at once."""
    renews, rebinds, expires = dhcp._times(read(an_answer(**options)))

    assert (rebinds, expires) == times[1:]
    if times[0] is None:
        assert renews is None
    else:
        assert renews is not None
        assert times[0] * 0.9 <= renews <= times[0]


@pytest.mark.parametrize(("mask", "length"), [("255.255.255.128", 25), ("255.0.255.0", 8), (None, 8)])
def test_a_mask_that_makes_no_sense_is_that_of_the_class(mask: str | None, length: int) -> None:
    answer = read(an_answer(**({"subnet_mask": mask} if mask else {})))

    assert dhcp._prefix_length(answer) == length


def test_a_router_beside_classless_routes_does_not_count() -> None:
    data = an_answer(router=["10.5.0.254"])[:-1] + bytes((121, 8, 24, 10, 17, 0, 10, 5, 0, 1)) + b"\xff"

    lease = dhcp._lease(read(data), "02:00:00:00:00:fe", datetime.now(UTC))

    assert lease.gateway is None
    assert lease.routes == (Route(destination=ip_network("10.17.0.0/24"), via=IPv4Address("10.5.0.1")),)
    assert lease.address == IPv4Interface("10.5.0.9/8")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_nothing_that_arrives_is_more_than_no_answer(data: st.DataObject) -> None:
    """Cut anywhere, with octets changed anywhere."""
    whole = bytearray(with_option(121, bytes((24, 10, 17, 0, 10, 0, 0, 1))))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=8)):
        whole[at] = data.draw(st.integers(0, 255))

    answer = unpack(bytes(whole[: data.draw(st.integers(0, len(whole)))]))

    assert answer is None or isinstance(answer, Answer)


def test_a_question_is_no_answer_and_is_long_enough_for_relays() -> None:
    data = pack(Question(kind="discover", xid=7, mac=MAC, client_id=b"\x00abc", host_name="web"))

    assert unpack(data) is None
    assert len(data) >= 300
