"""Ports that the kernel cannot translate: the other family's, and ::1. Relayed, to whom it concerns and nobody else."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from drivers import relayed_datagrams, relayed_streams
from drivers.api import Endpoint, Network, PortBinding
from drivers.errors import CannotPublish
from tests.drivers.wires import DROPPED_S, Stack, anywhere, ask, loopback, serving
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
Boxes = Callable[[str], Box]
Family = tuple[str, str, str]  # the network's subnet, the container's address, the gateway
V4_ONLY: Family = ("10.1.0.0/24", "10.1.0.2/24", "10.1.0.1")
V6_ONLY: Family = ("fd01::/64", "fd01::2/64", "fd01::1")
UDP = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])


@pytest.fixture
def stranger(stack: Stack, remote: Box, box: Boxes) -> Box:
    """A container of another network, which has both families, while a remote host is at hand."""
    made = box("stranger")
    stack.attach(stack.network("two", "10.2.0.0/24", "fd02::/64"), made, "10.2.0.2/24", "fd02::2/64")
    return made


def published(
    stack: Stack, server: Box, family: Family, *ports: PortBinding, **network: object
) -> tuple[Network[object], Endpoint, tuple[PortBinding, ...]]:
    made = stack.network("n", family[0], **network)  # type: ignore[arg-type]
    endpoint = stack.attach(made, server, family[1])
    return made, endpoint, stack.bridge.publish(made, endpoint, ports)


def both(port: int, **where: object) -> list[PortBinding]:
    make = loopback if where else anywhere
    return [make(port, **where), make(port, protocol="udp", **where)]  # type: ignore[arg-type]


@UDP
@pytest.mark.parametrize(
    ("family", "asked"),
    [
        # Who asks, at which address of the host. The container always sees its gateway.
        (
            V4_ONLY,
            [("host", "::1"), ("host", "2001:db8:2::1"), ("remote", "2001:db8:2::1"), ("stranger", "fd02::1")],
        ),
        (
            V6_ONLY,
            [
                *[("host", "::1"), ("host", "127.0.0.1"), ("host", "192.0.2.1")],
                *[("remote", "192.0.2.1"), ("stranger", "10.2.0.1")],
            ],
        ),
    ],
    ids=["to IPv4", "to IPv6"],
)
def test_everybody_reaches_a_container_by_the_family_it_lacks(
    stack: Stack, host: Box, remote: Box, stranger: Box, a: Box, family: Family, asked: list[tuple[str, str]], udp: bool
) -> None:
    published(stack, a, family, *both(8080))
    boxes = {"host": host, "remote": remote, "stranger": stranger}
    with serving(a):
        for name, address in asked:
            assert ask(boxes[name], address, 8080, udp=udp) == f"a heard {family[2]}", (name, address)


@UDP
def test_translated_where_that_works(stack: Stack, host: Box, remote: Box, a: Box, udp: bool) -> None:
    """One port, one container with both families: only what is sent to ::1 is relayed."""
    network = stack.network("n", "10.1.0.0/24", "fd01::/64")
    endpoint = stack.attach(network, a, "10.1.0.2/24", "fd01::2/64")
    stack.bridge.publish(network, endpoint, both(8080))
    with serving(a):
        assert ask(remote, "2001:db8:2::1", 8080, udp=udp) == "a heard 2001:db8:2::2"
        assert ask(remote, "192.0.2.1", 8080, udp=udp) == "a heard 192.0.2.2"
        assert ask(host, "127.0.0.1", 8080, udp=udp) == "a heard 10.1.0.1"
        assert ask(host, "::1", 8080, udp=udp) == "a heard fd01::1"
        # What lets the rules' translation pass by is not relayed instead, which would hide who asks.
        stack.nft.run("flush ruleset")
        expected = "silence" if udp else "refused"
        for address in ("2001:db8:2::1", "192.0.2.1"):
            answer = ask(remote, address, 8080, udp=udp, timeout_s=DROPPED_S)
            assert answer in (expected, "failed: Connection reset by peer")


@pytest.mark.parametrize("family", [V4_ONLY, V6_ONLY], ids=["to IPv4", "to IPv6"])
def test_a_port_of_the_ipv6_loopback_is_the_hosts_alone(
    stack: Stack, host: Box, remote: Box, stranger: Box, a: Box, family: Family
) -> None:
    published(stack, a, family, *both(8080, at="::1"))
    with serving(a):
        for udp in (False, True):
            assert ask(host, "::1", 8080, udp=udp) == f"a heard {family[2]}"
        assert ask(remote, "2001:db8:2::1", 8080) == "refused"
        assert ask(stranger, "fd02::1", 8080) == "refused"


def test_the_ipv4_loopback_leads_to_a_container_with_ipv6(stack: Stack, host: Box, remote: Box, a: Box) -> None:
    published(stack, a, V6_ONLY, loopback(8080))
    with serving(a):
        assert ask(host, "127.0.0.1", 8080) == "a heard fd01::1"
        assert ask(remote, "192.0.2.1", 8080) == "refused"


def test_one_address_of_the_other_family(stack: Stack, host: Box, remote: Box, a: Box) -> None:
    published(stack, a, V4_ONLY, loopback(8080, at="2001:db8:2::1"))
    with serving(a):
        assert ask(remote, "2001:db8:2::1", 8080) == "a heard 10.1.0.1"
        assert ask(host, "::1", 8080) == "refused"


def test_datagrams_are_answered_from_the_address_that_was_asked(stack: Stack, host: Box, remote: Box, a: Box) -> None:
    """A host with several: an answer from another address would be no answer."""
    remote.run("ip", "-6", "route", "add", "fd09::/64", "via", "2001:db8:2::1")
    host.run("ip", "addr", "add", "fd09::7/128", "dev", "wan2", "nodad")
    published(stack, a, V4_ONLY, *both(8080))
    with serving(a):
        for address in ("fd09::7", "2001:db8:2::1"):
            assert ask(remote, address, 8080, udp=True) == "a heard 10.1.0.1"


# --- internal networks ----------------------------------------------------------------------------


def test_an_internal_networks_ports_are_relayed_for_the_host_alone(
    stack: Stack, host: Box, remote: Box, stranger: Box, a: Box
) -> None:
    options = {"netmodel.bridge.publish_to_host": "true"}
    published(stack, a, V4_ONLY, *both(8080), internal=True, **options)
    with serving(a):
        for udp in (False, True):
            assert ask(host, "::1", 8080, udp=udp) == "a heard 10.1.0.1"
        assert ask(remote, "2001:db8:2::1", 8080) == "refused"
        assert ask(stranger, "fd02::1", 8080) == "refused"


def test_an_internal_ipv6_networks_ports_are_relayed_from_the_hosts_loopback_addresses(
    stack: Stack, host: Box, remote: Box, stranger: Box, a: Box
) -> None:
    options = {"netmodel.bridge.publish_to_host": "true"}
    published(stack, a, V6_ONLY, *both(8080), internal=True, **options)
    with serving(a):
        for address in ("::1", "127.0.0.1"):
            for udp in (False, True):
                assert ask(host, address, 8080, udp=udp) == "a heard fd01::1", address
        assert ask(remote, "192.0.2.1", 8080) == "refused"
        assert ask(stranger, "10.2.0.1", 8080) == "refused"


def test_an_internal_network_is_not_relayed_to_from_one_address_that_others_reach(
    stack: Stack, remote: Box, a: Box
) -> None:
    options = {"netmodel.bridge.publish_to_host": "true"}
    with pytest.raises(CannotPublish, match=r"\[2001:db8:2::1\]:8080/tcp: the endpoint has no IPv6 address"):
        published(stack, a, V4_ONLY, loopback(8080, at="2001:db8:2::1"), internal=True, **options)


@UDP
def test_no_way_leads_out_of_an_internal_network_through_the_relay(
    stack: Stack, host: Box, remote: Box, a: Box, box: Boxes, udp: bool
) -> None:
    """Its containers reach the host at their own gateway, where the relayed port is open to everybody else."""
    published(stack, a, V4_ONLY, *both(8080))
    locked = box("locked")
    stack.attach(stack.network("in", "fd05::/64", internal=True), locked, "fd05::2/64")
    with serving(a):
        with serving(host, 8081):  # whatever else listens at the host, its containers reach
            assert ask(locked, "fd05::1", 8081, udp=udp) == "host heard fd05::2"
        assert ask(remote, "2001:db8:2::1", 8080, udp=udp) == "a heard 10.1.0.1"
        answer = ask(locked, "fd05::1", 8080, udp=udp, timeout_s=DROPPED_S)
    assert answer in (["silence"] if udp else ["", "failed: Connection reset by peer"])


# --- routed networks, refusals --------------------------------------------------------------------


def test_a_network_that_is_routed_to_is_not_relayed_to(stack: Stack, remote: Box, a: Box) -> None:
    mode = {"gateway_mode_ipv4": "routed"}
    *_, ports = published(stack, a, V4_ONLY, anywhere(8080), **mode)
    assert [port.host_port for port in ports] == [0]
    with serving(a):
        assert ask(remote, "2001:db8:2::1", 8080) == "refused"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("::1", r"\[::1\]:9000/sctp: the kernel does not translate what is sent to ::1, and we relay no SCTP"),
        ("2001:db8:2::1", r"\[2001:db8:2::1\]:9000/sctp: the endpoint has no IPv6 address"),
    ],
)
def test_sctp_is_refused_where_it_would_have_to_be_relayed(
    stack: Stack, remote: Box, a: Box, address: str, why: str
) -> None:
    with pytest.raises(CannotPublish, match=why) as refusal:
        published(stack, a, V4_ONLY, loopback(9000, at=address, protocol="sctp"))
    assert refusal.value.hint


# --- streams ----------------------------------------------------------------------------------------


@contextmanager
def accepting(box: Box, port: int = 80) -> Iterator[socket.socket]:
    """A server in a box, to be played by the test."""
    with box.open(lambda: socket.create_server(("0.0.0.0", port))) as server:
        server.settimeout(5)
        yield server


@contextmanager
def conversation(stack: Stack, host: Box, a: Box) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a relayed connection; its port is 8080."""
    published(stack, a, V4_ONLY, anywhere(8080))
    with (
        accepting(a) as server,
        socket.create_connection(("::1", 8080), timeout=5) as client,
        closing(server.accept()[0]) as connection,
    ):
        connection.settimeout(5)
        yield client, connection


def test_each_direction_ends_by_itself(stack: Stack, host: Box, a: Box) -> None:
    with conversation(stack, host, a) as (client, server):
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert server.recv(100) + server.recv(100) == b"question"
        assert server.recv(100) == b""
        server.sendall(b"a long answer")
        assert client.recv(100) == b"a long answer"
        server.close()
        assert client.recv(100) == b""


def test_a_reset_is_passed_on(stack: Stack, host: Box, a: Box) -> None:
    with conversation(stack, host, a) as (client, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_who_listens_slowly_slows_the_speaker_down(stack: Stack, host: Box, a: Box) -> None:
    """What is under way stays bounded, and all of it arrives."""
    with conversation(stack, host, a) as (client, server):
        client.settimeout(0.5)
        sent = 0
        with suppress(TimeoutError):
            while sent < 64 << 20:
                sent += client.send(bytes(1 << 20))
        assert sent < 64 << 20
        client.settimeout(5)
        closer = threading.Thread(target=client.shutdown, args=(socket.SHUT_WR,))
        closer.start()
        got = 0
        while part := server.recv(1 << 20):
            got += len(part)
        closer.join()
        assert got == sent


def test_much_passes_in_both_directions_at_once(stack: Stack, host: Box, a: Box) -> None:
    amount = 32 << 20
    got: dict[str, bytes] = {}

    def listen(name: str, one: socket.socket) -> None:
        parts = bytearray()
        while part := one.recv(1 << 20):
            parts += part
        got[name] = bytes(parts)

    def speak(byte: bytes, one: socket.socket) -> None:
        one.sendall(byte * amount)
        one.shutdown(socket.SHUT_WR)

    with conversation(stack, host, a) as (client, server):
        threads = [
            *(threading.Thread(target=listen, args=(name, one)) for name, one in (("c", client), ("s", server))),
            *(threading.Thread(target=speak, args=(byte, one)) for byte, one in ((b"x", client), (b"y", server))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got["s"] == b"x" * amount
    assert got["c"] == b"y" * amount


def test_a_container_that_does_not_listen_resets(stack: Stack, host: Box, a: Box) -> None:
    published(stack, a, V4_ONLY, anywhere(8080))
    assert ask(host, "::1", 8080) in ("failed: Connection reset by peer", "failed: Broken pipe")


def test_withdrawing_a_port_ends_what_is_relayed_through_it(stack: Stack, host: Box, a: Box) -> None:
    network, endpoint, ports = published(stack, a, V4_ONLY, *both(8080))
    with (
        accepting(a) as server,
        socket.create_connection(("::1", 8080), timeout=5) as client,
        closing(server.accept()[0]) as connection,
    ):
        connection.settimeout(5)
        stack.bridge.unpublish(network, endpoint, ports)
        for end in (client, connection):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    assert ask(host, "::1", 8080) == "refused"

    with serving(a):  # nor is its name taken
        assert stack.bridge.publish(network, endpoint, ports) == ports
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            client.connect(("::1", 8080))
            client.settimeout(5)
            client.send(b"hello")
            assert client.recv(100) == b"a heard 10.1.0.1"
            assert ask(host, "::1", 8080) == "a heard 10.1.0.1"
            stack.bridge.unpublish(network, endpoint, ports)
            client.send(b"hello")
            with pytest.raises(ConnectionRefusedError):
                client.recv(100)


# --- bounds -----------------------------------------------------------------------------------------


def test_a_flood_takes_no_more_than_a_ports_share(
    stack: Stack, host: Box, a: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relayed_streams, "CONNECTIONS", 5)
    published(stack, a, V4_ONLY, anywhere(8080), anywhere(8081, to=81))
    with ExitStack() as opened, serving(a, 81), accepting(a) as server:
        held = [opened.enter_context(socket.create_connection(("::1", 8080), timeout=5)) for _ in range(5)]
        accepted = [opened.enter_context(server.accept()[0]) for _ in held]

        assert _is_let_in(8080) is False
        # It is told, another port has its own share, and a place that is given back is free.
        assert "5 connections are relayed at once, more are refused" in caplog.text
        assert ask(host, "::1", 8081) == "a heard 10.1.0.1"
        for one in (*held, *accepted):
            one.close()
        eventually(lambda: _is_let_in(8080))


def test_who_calls_while_no_descriptor_is_free_waits_for_one(
    stack: Stack, host: Box, a: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relayed_streams, "ACCEPT_AGAIN_AFTER_S", 0.05)
    published(stack, a, V4_ONLY, anywhere(8080))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with serving(a), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(client.fileno()))
            client.settimeout(DROPPED_S)
            client.connect(("::1", 8080))
            client.send(b"hello")
            with pytest.raises(TimeoutError):
                client.recv(100)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for one in taken:
                os.close(one)
        client.settimeout(5)
        assert client.recv(100) == b"a heard 10.1.0.1"


def _is_let_in(port: int) -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as client:
        client.settimeout(DROPPED_S)
        try:
            client.connect(("::1", port))
            return client.recv(1) != b""
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False


def test_a_new_sender_of_datagrams_takes_the_place_of_who_was_silent_longest(
    stack: Stack, host: Box, a: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relayed_datagrams, "CLIENTS", 3)
    published(stack, a, V4_ONLY, anywhere(8080, protocol="udp"))
    seen: list[int] = []
    with ExitStack() as opened, a.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("0.0.0.0", 80))
        server.settimeout(5)
        clients = [opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) for _ in range(4)]
        for number in (0, 1, 0, 2, 3, 0, 1):
            clients[number].sendto(b"hello", ("::1", 8080))
            seen.append(server.recvfrom(100)[1][1])
    first, second, again, _third, _fourth, still, back = seen
    assert first == again == still
    assert back != second
    assert "3 clients are relayed at once" in caplog.text


def test_a_silent_sender_is_forgotten(stack: Stack, host: Box, a: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relayed_datagrams, "IDLE_S", 0.05)
    published(stack, a, V4_ONLY, anywhere(8080, protocol="udp"))
    with (
        a.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("0.0.0.0", 80))
        server.settimeout(5)
        client.sendto(b"hello", ("::1", 8080))
        _, relay = server.recvfrom(100)

        def is_gone() -> bool:
            with host.open(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
                try:
                    probe.bind(relay)
                except OSError:
                    return False
                return True

        eventually(is_gone)
