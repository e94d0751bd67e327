"""Sending a sandbox's queries for 127.0.0.11:53 to the engine's sockets in that namespace."""

from __future__ import annotations

from pathlib import Path

from drivers.kernel.nft import NftWorker

DNS_ADDRESS = "127.0.0.11"
_TABLE = "ip netmodel_dns"
_EMPTY = f"""\
table {_TABLE} {{
	chain output {{
		type filter hook output priority mangle; policy accept;
	}}
}}
flush chain {_TABLE} output
"""


def redirect_dns(nft: NftWorker, netns: Path, udp_port: int, tcp_port: int, *, fresh: bool = False) -> None:
    """Let queries to port 53 arrive at the two ports, and the answers come from port 53.

    Only packets of 127.0.0.11 are touched: the container may itself listen on port 53. Repeated,
    the new ports replace the old.

    Args:
        fresh: The namespace is new, so there is nothing to replace: flushing a chain, even an empty
            one, waits for a grace period of the kernel (12 ms).

    Raises:
        KernelError: The namespace is gone, or its kernel has no nf_tables.
    """
    script = rules(udp_port, tcp_port)
    nft.run(script if fresh else _EMPTY + script, netns, f"redirect DNS in {netns}")


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
