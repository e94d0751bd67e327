"""Sending a sandbox's queries for 127.0.0.11:53 to the engine's sockets in that namespace."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from socket import IPPROTO_TCP, IPPROTO_UDP

from drivers.kernel.conntrack import NETLINK_NETFILTER
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.nft_message import (
    DESTINATION,
    SOURCE,
    accept,
    add_output_chain,
    add_rule,
    add_table,
    is_port,
    leaves_by_other_than,
    set_port,
)
from drivers.kernel.wire import Request

DNS_ADDRESS = "127.0.0.11"
_NAME = "netmodel_dns"
_TABLE = f"ip {_NAME}"
_EMPTY = f"""\
table {_TABLE} {{
	chain output {{
		type filter hook output priority mangle; policy accept;
	}}
}}
flush chain {_TABLE} output
"""


def redirect_dns(nft: NftWorker, netns: Path, udp_port: int, tcp_port: int) -> None:
    """Let queries to port 53 arrive at the two ports, and the answers come from port 53.

    Only packets of 127.0.0.11 are touched: the container may itself listen on port 53. Repeated,
    the new ports replace the old.

    Raises:
        KernelError: The namespace is gone, or its kernel has no nf_tables.
    """
    nft.run(_EMPTY + rules(udp_port, tcp_port), netns, f"redirect DNS in {netns}")


def redirect_dns_here(udp_port: int, tcp_port: int) -> None:
    """The same in the calling thread's namespace, which is new.

    So there is nothing to replace: flushing a chain, even an empty one, waits for a grace period of
    the kernel (12 ms). And it is on the path of every start, so it is packed by ourselves: libnftables
    takes a millisecond, and a thread more to enter the namespace.

    Raises:
        KernelError: The kernel has no nf_tables.
    """
    with Netlink(None, NETLINK_NETFILTER) as firewall:
        firewall.transact(_requests(udp_port, tcp_port))


def rules(udp_port: int, tcp_port: int) -> str:
    # Ports are rewritten in the packets themselves: a NAT chain would make the kernel track every
    # connection of the container, which costs each of its packets. Both directions leave through
    # the output hook, because the loopback is where client and server meet.
    return f"""\
table {_TABLE} {{
	chain output {{
		type filter hook output priority mangle; policy accept;
		oif != 1 accept
		ip daddr {DNS_ADDRESS} udp dport 53 udp dport set {udp_port}
		ip daddr {DNS_ADDRESS} tcp dport 53 tcp dport set {tcp_port}
		ip saddr {DNS_ADDRESS} udp sport {udp_port} udp sport set 53
		ip saddr {DNS_ADDRESS} tcp sport {tcp_port} tcp sport set 53
	}}
}}
"""


def _requests(udp_port: int, tcp_port: int) -> list[Request]:
    """What rules() says."""
    address = IPv4Address(DNS_ADDRESS).packed
    ports = ((IPPROTO_UDP, udp_port), (IPPROTO_TCP, tcp_port))
    asked = [is_port(DESTINATION, address, kind, 53) + set_port(DESTINATION, kind, port) for kind, port in ports]
    answered = [is_port(SOURCE, address, kind, port) + set_port(SOURCE, kind, 53) for kind, port in ports]
    loopback = leaves_by_other_than(1) + accept()
    return [
        add_table(_NAME),
        add_output_chain(_NAME, "output"),
        *(add_rule(_NAME, "output", rule) for rule in (loopback, *asked, *answered)),
    ]
