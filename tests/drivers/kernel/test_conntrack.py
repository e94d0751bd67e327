"""Connections are found and forgotten by who answers to them."""

from __future__ import annotations

import socket

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


def test_translated_connections_are_found_and_forgotten(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    with Conntrack() as table:
        with serving(host):
            assert ask(host, "127.0.0.2", 8080, udp=True) == "host heard 127.0.0.1"

        [found] = table.translated()
        assert (str(found.original.destination), found.original.destination_port) == ("127.0.0.2", 8080)
        assert (str(found.reply.source), found.reply.source_port) == ("127.0.0.1", 80)
        others = [one for one in table.connections() if one != found]
        for _ in range(2):
            table.forget([found])
        assert table.translated() == []
        assert others
        assert table.connections() == others


def test_untranslated_ones_by_protocol(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    with Conntrack() as table, serving(host):
        ask(host, "127.0.0.2", 8080, udp=True)
        ask(host, "127.0.0.1", 80, udp=True)
        ask(host, "127.0.0.1", 80)

        assert [one.original.destination_port for one in table.untranslated(socket.IPPROTO_UDP)] == [80]
        assert [one.original.destination_port for one in table.untranslated(socket.IPPROTO_TCP)] == [80]


def test_ipv6_connections_too(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    with Conntrack() as table:
        with serving(host):
            ask(host, "::1", 80, udp=True)

        [found] = table.untranslated(socket.IPPROTO_UDP, 6)
        assert str(found.reply.source) == "::1"
        assert table.translated(6) == []
        table.forget([found])
        assert table.connections(6) == []
