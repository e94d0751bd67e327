"""Netlink on the wire: headers and attributes, packed and read.

Requests are packed here with struct, in about 3 µs each, because they are on the path of every
container start: pyroute2's message classes take 50 µs for an address and 190 µs for a veth pair, and
170 ms to import (measured on a 2-core VM), which together is more than the kernel's own share of
the work. pyroute2 stays what we check ourselves against (tests/drivers), what reads the dumps
that are asked for seldom, and, through Request.of(), the way to send what we have no builder for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

# Source: Linux include/uapi/linux/netlink.h.
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
NLM_F_ACK = 0x04
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_DUMP_INTR = 0x10
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

CREATE_ONLY = NLM_F_CREATE | NLM_F_EXCL
CREATE_OR_REPLACE = NLM_F_CREATE | NLM_F_REPLACE

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel.

    Args:
        type: RTM_NEWLINK and the like.
        asked: What it does, in words that fit before a colon and the kernel's refusal.
        flags: Beside NLM_F_REQUEST and NLM_F_ACK.
        body: Family header and attributes.
        harmless: Refusals (errno) that mean "it is so already".
    """

    type: int
    asked: str
    flags: int
    body: bytes
    harmless: tuple[int, ...] = ()

    @classmethod
    def of(cls, message: Any, asked: str, flags: int = 0, harmless: tuple[int, ...] = ()) -> Request:
        """Carry a message of pyroute2's classes, whose header holds its type."""
        message.encode()
        return cls(message["header"]["type"], asked, flags, bytes(message.data[HEADER.size :]), harmless)


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(2, "little"))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(2, "big"))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def mac(kind: int, value: str) -> bytes:
    return attribute(kind, bytes.fromhex(value.replace(":", "")))


def nested(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(inner))


def attributes(data: memoryview | bytes, offset: int = 0) -> dict[int, bytes]:
    """Read attributes into their payloads by type; of a repeated type the last one stays."""
    found = {}
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = bytes(data[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return found


def repeated(data: memoryview | bytes, kind: int) -> list[bytes]:
    """The payloads of all attributes of one type, which may come several times."""
    found = []
    offset = 0
    while offset + 4 <= len(data):
        length, own = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        if own & NLA_TYPE_MASK == kind:
            found.append(bytes(data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def messages(data: memoryview) -> Iterator[tuple[int, int, int, memoryview]]:
    """Split a datagram into (type, flags, sequence, payload)."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            return
        yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def to_u32(payload: bytes | None) -> int:
    """A missing attribute is 0."""
    return _U32.unpack_from(payload)[0] if payload else 0


def to_text(payload: bytes | None) -> str:
    return payload.rstrip(b"\0").decode(errors="replace") if payload else ""


def to_mac(payload: bytes | None) -> str:
    return payload.hex(":") if payload else ""


def to_address(payload: bytes) -> IPv4Address | IPv6Address:
    return IPv4Address(payload) if len(payload) == 4 else IPv6Address(payload)
