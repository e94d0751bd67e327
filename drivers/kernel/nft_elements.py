"""Elements of the sets and maps of a table of family inet, packed by ourselves: each published port is one.

libnftables takes more than a millisecond for a hundred, in a process of its own, and the kernel 0.1. Sent by
Netlink.transact().

Source: Linux include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache

from drivers.kernel import wire
from drivers.kernel.wire import NLA_F_NESTED, Request

_NEW, _DELETE = (10 << 8 | number for number in (12, 14))  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_*SETELEM
_NFGENMSG = struct.pack("=BBH", 1, 0, 0)  # NFPROTO_INET, version, resource
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _DATA, _VALUE = 1, 1, 2, 1
_ATTRIBUTE = struct.Struct("=HH")
_MOST = 500  # in one message: an attribute holds less than 64 KiB


def packed_element(key: bytes, data: bytes = b"") -> bytes:
    """An element of a set, or of a map where it has data; the parts of either begin at multiples of four bytes."""
    before_key, before_data = _headers(len(key), len(data))
    return before_key + key + before_data + data


def add_elements(table: str, name: str, elements: Sequence[bytes], asked: str) -> Iterator[Request]:
    """Like: nft add element inet TABLE NAME { ELEMENTS }

    What is there already is no refusal, unless it has other data: EEXIST.
    """
    return _requests(_NEW, wire.NLM_F_CREATE, table, name, elements, asked)


def delete_elements(table: str, name: str, elements: Sequence[bytes], asked: str) -> Iterator[Request]:
    """Like: nft delete element inet TABLE NAME { ELEMENTS }

    By their keys, whatever data they have.
    """
    return _requests(_DELETE, 0, table, name, elements, asked)


@cache
def _headers(key: int, data: int) -> tuple[bytes, bytes]:
    """What goes before a key and before data, of these lengths."""
    pack = _ATTRIBUTE.pack
    before_data = pack(data + 8, _DATA | NLA_F_NESTED) + pack(data + 4, _VALUE) if data else b""
    whole = 4 + 4 + 4 + key + len(before_data) + data
    before_key = pack(whole, _ELEMENT | NLA_F_NESTED) + pack(key + 8, _KEY | NLA_F_NESTED) + pack(key + 4, _VALUE)
    return before_key, before_data


def _requests(kind: int, flags: int, table: str, name: str, elements: Sequence[bytes], asked: str) -> Iterator[Request]:
    where = _NFGENMSG + wire.text(_TABLE, table) + wire.text(_SET, name)
    for first in range(0, len(elements), _MOST):
        yield Request(kind, asked, flags, where + wire.nested(_ELEMENTS, *elements[first : first + _MOST]))
