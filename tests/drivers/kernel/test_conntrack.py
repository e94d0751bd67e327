"""Connections are found and forgotten by who answers to them."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, ip_address

import pytest

from drivers.kernel.conntrack import Conntrack
from drivers.kernel.nft import NftWorker
from tests.drivers.wires import ask, serving
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel

TRACK = """
table inet t {
	chain out {
		type nat hook output priority -100;
		udp dport 8080 dnat ip to 127.0.0.1:80;
		udp dport 8081 dnat ip to 127.0.0.3:80;
		udp dport 8080 dnat ip6 to [fd09::2]:80;
	}
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


def test_translated_connections_by_where_they_lead(host: Box, nft: NftWorker) -> None:
    nft.run(TRACK)
    for address in ("fd09::1/128", "fd09::2/128"):
        host.run("ip", "addr", "add", address, "dev", "lo", "nodad")
    with Conntrack() as table:
        asked = (("127.0.0.2", 8080), ("127.0.0.2", 8081), ("fd09::1", 8080), ("127.0.0.1", 80))
        ends = {"127.0.0.1", "127.0.0.3", "fd09::2"}

        def ends_of_datagrams() -> set[str]:
            for address, port in asked:
                with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.bind(("", 5555))
                    client.sendto(b"hello", (address, port))
            return {str(one.reply.source) for one in table.translated()}

        eventually(lambda: ends_of_datagrams() == ends)  # an IPv6 address can be used only soon after it is added
        for end in ends:
            [found] = table.translated(ip_address(end))
            assert (str(found.reply.source), found.reply.source_port) == (end, 80)
        assert table.translated(ip_address("127.0.0.2")) == []

        if table.forget_translated(IPv4Address("127.0.0.3")):  # not before Linux 6.10
            ends.discard("127.0.0.3")
        assert {str(one.reply.source) for one in table.translated()} == ends
        assert table.untranslated(socket.IPPROTO_UDP)


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
        assert table.translated() == []
        table.forget([found])
        assert table.connections(6) == []
