"""The one BPF program that containers need: which device nodes a group of cgroup v2 may use."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.kernel import syscall

_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "s390x": 351, "ppc64le": 361}
_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
# So that the engine's own group, or one that the container makes below, may have a program, too: all must agree.
_ALLOW_MULTI = 2

BLOCK, CHARACTER = 1, 2
MKNOD, READ, WRITE = 1, 2, 4

_INSTRUCTION = struct.Struct("=BBhi")  # opcode, source and destination register, offset, immediate
_LOAD, _COPY, _AND, _SHIFT_RIGHT, _JUMP_IF_NOT, _SET, _EXIT = 0x61, 0xBC, 0x54, 0x74, 0x55, 0xB7, 0x95


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """Allows one use of some nodes.

    Args:
        kind: BLOCK or CHARACTER.
        access: MKNOD, READ and WRITE, or-ed.
        major and minor: None is every one.
    """

    kind: int
    major: int | None
    minor: int | None
    access: int


def device_program(rules: Sequence[DeviceRule]) -> int:
    """Load a program that allows what a rule allows and nothing else; returns its descriptor.

    Raises:
        OSError: The kernel has no such programs, or we may not load one.

    Source: Linux include/uapi/linux/bpf.h, struct bpf_cgroup_dev_ctx: access and kind in one word, major, minor.
    """
    code = [
        _instruction(_LOAD, 2, 1, offset=0),
        _instruction(_COPY, 3, 2),
        _instruction(_AND, 2, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, 3, value=16),
        _instruction(_LOAD, 4, 1, offset=4),
        _instruction(_LOAD, 5, 1, offset=8),
    ]
    for rule in rules:
        code += _allow(rule)
    code += [_instruction(_SET, 0, value=0), _instruction(_EXIT)]
    program = ctypes.create_string_buffer(b"".join(code))
    license_ = ctypes.create_string_buffer(b"Apache-2.0")
    # type, count, instructions, licence, log (level, size, buffer), kernel version, flags, name
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _PROG_TYPE_CGROUP_DEVICE, len(code), ctypes.addressof(program), ctypes.addressof(license_), 0, 0, 0, 0, 0,
        b"netmodel_dev",
    )  # fmt: skip
    return _bpf(_PROG_LOAD, attributes)


def attach_to_group(program: int, directory: int) -> None:
    """Let a program decide for a group, given a descriptor of its directory; it stays until the group is gone."""
    _bpf(_PROG_ATTACH, struct.pack("=IIII", directory, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI))


def _allow(rule: DeviceRule) -> list[bytes]:
    """Compare one after another; whatever differs jumps behind the rule."""
    tests: list[bytes | tuple[int, int]] = [(2, rule.kind)]
    if rule.access != MKNOD | READ | WRITE:
        # What is wanted beyond the rule must be nothing.
        tests += [_instruction(_COPY, 1, 3), _instruction(_AND, 1, value=~rule.access & 0xFFFF), (1, 0)]
    if rule.major is not None:
        tests.append((4, rule.major))
    if rule.minor is not None:
        tests.append((5, rule.minor))
    code = []
    for position, test in enumerate(tests):
        if isinstance(test, bytes):
            code.append(test)
        else:
            behind = len(tests) - position - 1 + 2
            code.append(_instruction(_JUMP_IF_NOT, test[0], offset=behind, value=test[1]))
    return [*code, _instruction(_SET, 0, value=1), _instruction(_EXIT)]


def _instruction(opcode: int, target: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(opcode, source << 4 | target, offset, value)


def _bpf(command: int, attributes: bytes) -> int:
    number = _BPF.get(platform.machine())
    if number is None:
        raise OSError(38, os.strerror(38))
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall.call(number, command, ctypes.byref(buffer), syscall.uint(len(attributes)))
