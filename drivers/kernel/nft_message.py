"""Messages of nf_tables, packed by ourselves: the few that every start of a container sends.

libnftables parses a script, reads what there is and the files that give names to numbers, a
millisecond in a process of its own; the kernel's own share is a tenth of that. All else is
libnftables' (nft.py), but for published ports (nft_elements.py). Sent by Netlink.transact().

Source: Linux include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
"""

from __future__ import annotations

import struct
from functools import cache

from drivers.kernel import wire
from drivers.kernel.wire import Request

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = (_SUBSYSTEM << 8 | number for number in (0, 3, 6))
_BATCH_BEGIN, _BATCH_END = 16, 17
_NFGENMSG = struct.Struct("=BB2s")  # family, version, subsystem in a batch's first and last message
_IPV4 = 2

_TABLE_NAME = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_LOCAL_OUT, _MANGLE, _ACCEPT = 3, -150, 1
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_LIST_ELEMENT, _EXPRESSION_NAME, _EXPRESSION_DATA = 1, 1, 2
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE = 1, 2, 1
_REGISTER, _VERDICT_REGISTER = 1, 0
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_CHECKSUM_INET = 1

_OUTGOING_LINK, _PROTOCOL = 5, 16  # NFT_META_OIF, NFT_META_L4PROTO
_LENGTH_OF_PORT = 2
SOURCE, DESTINATION = 0, 2  # where a port is in the header of UDP and TCP
_ADDRESS_AT = {SOURCE: 12, DESTINATION: 16}  # in that of IPv4
_CHECKSUM_AT = {17: 6, 6: 16}  # by protocol, in that of UDP and TCP


def envelope() -> tuple[Request, Request]:
    """What begins and ends a transaction."""
    body = _NFGENMSG.pack(0, 0, _SUBSYSTEM.to_bytes(2, "big"))
    return Request(_BATCH_BEGIN, "begin a transaction", 0, body), Request(_BATCH_END, "end a transaction", 0, body)


def add_table(table: str) -> Request:
    """Like: nft add table ip TABLE"""
    return _request(_NEW_TABLE, f"add table ip {table}", wire.text(_TABLE_NAME, table))


def add_output_chain(table: str, chain: str) -> Request:
    """Like: nft add chain ip TABLE CHAIN { type filter hook output priority mangle; policy accept; }"""
    hook = wire.be32(_HOOK_NUMBER, _LOCAL_OUT) + wire.be32(_HOOK_PRIORITY, _MANGLE & 0xFFFFFFFF)
    body = wire.text(_CHAIN_TABLE, table) + wire.text(_CHAIN_NAME, chain) + wire.nested(_CHAIN_HOOK, hook)
    body += wire.be32(_CHAIN_POLICY, _ACCEPT) + wire.text(_CHAIN_TYPE, "filter")
    return _request(_NEW_CHAIN, f"add chain ip {table} {chain}", body)


def add_rule(table: str, chain: str, *expressions: bytes) -> Request:
    """Like: nft add rule ip TABLE CHAIN EXPRESSIONS"""
    body = wire.text(_RULE_TABLE, table) + wire.text(_RULE_CHAIN, chain) + wire.nested(_RULE_EXPRESSIONS, *expressions)
    return _request(_NEW_RULE, f"add a rule to ip {table} {chain}", body, wire.NLM_F_APPEND)


# --- expressions ------------------------------------------------------------------------------


def leaves_by_other_than(ifindex: int) -> bytes:
    """Like: oif != IFINDEX"""
    return _meta(_OUTGOING_LINK) + _compare(ifindex.to_bytes(4, "little"), equal=False)


def accept() -> bytes:
    verdict = wire.nested(_DATA_VERDICT, wire.be32(_VERDICT_CODE, _ACCEPT))
    return _expression("immediate", wire.be32(1, _VERDICT_REGISTER), wire.nested(2, verdict))


def is_port(which: int, address: bytes, protocol: int, port: int) -> bytes:
    """Like: ip daddr ADDRESS udp dport PORT"""
    return (
        _load(_NETWORK_HEADER, _ADDRESS_AT[which], len(address))
        + _compare(address)
        + _meta(_PROTOCOL)
        + _compare(bytes((protocol,)))
        + _load(_TRANSPORT_HEADER, which, _LENGTH_OF_PORT)
        + _compare(port.to_bytes(_LENGTH_OF_PORT, "big"))
    )


def set_port(which: int, protocol: int, port: int) -> bytes:
    """Like: udp dport set PORT"""
    value = wire.nested(2, wire.attribute(_DATA_VALUE, port.to_bytes(_LENGTH_OF_PORT, "big")))
    where = wire.be32(2, _TRANSPORT_HEADER) + wire.be32(3, which) + wire.be32(4, _LENGTH_OF_PORT)
    checksum = wire.be32(6, _CHECKSUM_INET) + wire.be32(7, _CHECKSUM_AT[protocol])
    write = wire.be32(5, _REGISTER) + where + checksum
    return _expression("immediate", wire.be32(1, _REGISTER), value) + _expression("payload", write)


@cache
def _meta(key: int) -> bytes:
    return _expression("meta", wire.be32(1, _REGISTER), wire.be32(2, key))


@cache
def _load(header: int, offset: int, length: int) -> bytes:
    where = wire.be32(2, header) + wire.be32(3, offset) + wire.be32(4, length)
    return _expression("payload", wire.be32(1, _REGISTER), where)


def _compare(value: bytes, *, equal: bool = True) -> bytes:
    data = wire.nested(3, wire.attribute(_DATA_VALUE, value))
    return _expression("cmp", wire.be32(1, _REGISTER), wire.be32(2, not equal), data)


def _expression(name: str, *data: bytes) -> bytes:
    inner = wire.text(_EXPRESSION_NAME, name) + wire.nested(_EXPRESSION_DATA, *data)
    return wire.nested(_LIST_ELEMENT, inner)


def _request(kind: int, asked: str, body: bytes, flags: int = 0) -> Request:
    return Request(kind, asked, wire.NLM_F_CREATE | flags, _NFGENMSG.pack(_IPV4, 0, b"\0\0") + body)
