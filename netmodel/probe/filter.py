"""Classic BPF programs that keep a busy sandbox's traffic out of our sockets.

Source: Linux Documentation/networking/filter.rst; struct sock_fprog of linux/filter.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SO_ATTACH_FILTER = 26
_LOAD_BYTE, _LOAD_HALF = 0x30, 0x28  # from the packet's start
_LOAD_BYTE_X, _LOAD_HALF_X = 0x50, 0x48  # from X
_X_IS_IPV4_HEADER_LENGTH, _X_IS = 0xB1, 0x01
_JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x15, 0x45, 0x06

Layout = Literal["ipv4", "ipv6", "transport"]


@dataclass(frozen=True, slots=True)
class Test:
    """A field of the transport header: equal to value, or has any of its bits."""

    __test__ = False  # not one of pytest's

    offset: int
    bytes: Literal[1, 2]
    value: int
    any_bit: bool = False


def holds(offset: int, value: bytes) -> tuple[Test, ...]:
    """The tests for a text of even length at an offset."""
    return tuple(Test(offset + at, 2, int.from_bytes(value[at : at + 2], "big")) for at in range(0, len(value), 2))


def attach(sock: socket.socket, layout: Layout, protocol: int, tests: Sequence[Test]) -> None:
    """Let only packets of this protocol that pass every test into the socket.

    Args:
        layout: Where the packet starts: raw IPv4 sockets show the IP header, raw IPv6 ones do not.
            IPv6 extension headers are not followed: probes have none.
    """
    code = program(layout, protocol, tests)
    memory = ctypes.create_string_buffer(code, len(code))
    # The kernel copies the program; the buffer need only live until the call returns.
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HxxxxxxQ", len(code) // 8, ctypes.addressof(memory))
    )


def program(layout: Layout, protocol: int, tests: Sequence[Test]) -> bytes:
    """Assemble the filter: eight bytes an instruction."""
    checks: list[list[tuple[int, int]]] = []  # each: instructions, the last one a jump that drops on false
    if layout == "ipv4":
        checks.append([(_LOAD_BYTE, 9), (_JUMP_EQUAL, protocol)])
        prologue = [(_X_IS_IPV4_HEADER_LENGTH, 0)]
    elif layout == "ipv6":
        checks.append([(_LOAD_BYTE, 6), (_JUMP_EQUAL, protocol)])
        prologue = [(_X_IS, 40)]
    else:
        prologue = [(_X_IS, 0)]
    for test in tests:
        load = _LOAD_BYTE_X if test.bytes == 1 else _LOAD_HALF_X
        checks.append([(load, test.offset), (_JUMP_ANY_BIT if test.any_bit else _JUMP_EQUAL, test.value)])
    lines = prologue + [line for check in checks for line in check]
    end = len(lines) + 1  # where the drop is; the accept stands before it
    code = bytearray()
    for index, (operation, constant) in enumerate(lines):
        on_false = end - index - 1 if operation in (_JUMP_EQUAL, _JUMP_ANY_BIT) else 0
        code += struct.pack("=HBBI", operation, 0, on_false, constant)
    return bytes(code + struct.pack("=HBBI", _RETURN, 0, 0, 0xFFFF) + struct.pack("=HBBI", _RETURN, 0, 0, 0))
