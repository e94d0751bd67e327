"""Giving up system calls for good: seccomp(2) in filter mode."""

from __future__ import annotations

import ctypes

from runtime.errors import KernelRefused
from runtime.kernel import syscall

_SET_SECCOMP = 22
_MODE_FILTER = 2
_STEP_BYTES = 8


class _Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def load(program: bytes) -> None:
    """Let a program decide about every system call of this process from now on, and of all it becomes and makes.

    Needs CAP_SYS_ADMIN in its user namespace, or that new privileges are forbidden.
    """
    steps = ctypes.create_string_buffer(program, len(program))
    wanted = _Program(len(program) // _STEP_BYTES, ctypes.addressof(steps))
    try:
        zero = ctypes.c_ulong(0)
        syscall.libc("prctl", _SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), syscall.pointer(wanted), zero, zero)
    except OSError as error:
        raise KernelRefused("filter the system calls of the container", error) from None
