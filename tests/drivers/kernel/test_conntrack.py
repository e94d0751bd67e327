"""Connections are found and forgotten by who answers to them."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from drivers.kernel.conntrack import Conntrack
from drivers.kernel.nft import NftWorker
from tests.drivers.wires import ask, serving
from tests.support.box import Box

pytestmark = pytest.mark.kernel

TRACK = """
table inet t {
	chain out { type nat hook output priority -100; udp dport 8080 dnat ip to 127.0.0.1:80; }
	chain in { type filter hook input priority 0; ct state new accept; }
}
"""


def test_connections_are_found_and_forgotten(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    answering = ip_address("127.0.0.1")
    with Conntrack() as table:
        with serving(host):
            assert ask(host, "127.0.0.2", 8080, udp=True) == "host heard 127.0.0.1"
        untranslated = len([one for one in table.connections(answering) if not one.translated])

        [found] = [one for one in table.connections(answering) if one.translated]
        assert (str(found.original.destination), found.original.destination_port) == ("127.0.0.2", 8080)
        assert found.reply.source_port == 80

        assert table.connections(ip_address("127.0.0.2")) == []
        assert table.flush(answering, lambda one: one.original.destination_port == 1) == 0
        assert table.flush(answering, lambda one: one.translated) == 1
        assert not any(one.translated for one in table.connections())
        assert table.flush(answering) == untranslated


def test_only_the_untranslated_of_a_protocol_and_port(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    with Conntrack() as table, serving(host):
        ask(host, "127.0.0.2", 8080, udp=True)
        ask(host, "127.0.0.1", 80, udp=True)
        ask(host, "127.0.0.1", 80)

        assert table.flush_untranslated(socket.IPPROTO_UDP, {80, 8080}) == 1
        assert table.flush_untranslated(socket.IPPROTO_UDP, {80, 8080}) == 0
        assert {one.original.protocol for one in table.connections()} == {socket.IPPROTO_TCP, socket.IPPROTO_UDP}


def test_ipv6_connections_too(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    with Conntrack() as table:
        with serving(host):
            ask(host, "::1", 80, udp=True)

        assert len(table.connections(ip_address("::1"))) == 1
        assert table.connections(ip_address("::2")) == []
        assert table.flush(ip_address("::1")) == 1
        assert table.connections(family=6) == []
