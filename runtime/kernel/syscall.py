"""Raw system calls for what Python's own library does not wrap.

The numbers above 423 are the same on every architecture; the rest goes through libc. The library is
loaded so that the interpreter's lock stays held: these calls are short, and clone3 must not return
in a child that believes another thread holds the lock.
"""

from __future__ import annotations

import ctypes
import os

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

PIDFD_OPEN = 434
CLONE3 = 435
CLOSE_RANGE = 436
OPENAT2 = 437
OPEN_TREE = 428
MOVE_MOUNT = 429
FSOPEN = 430
FSCONFIG = 431
FSMOUNT = 432
MOUNT_SETATTR = 442
QUOTACTL_FD = 443

_libc = ctypes.PyDLL(None, use_errno=True)
_waiting = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def call(number: int, *args: object) -> int:
    """Make one system call by its number.

    Raises:
        OSError: What the kernel answered.
    """
    return _checked(_syscall(number, *args))


def libc(function: str, *args: object) -> int:
    """Call one of libc's thin wrappers by name.

    Raises:
        OSError: What the kernel answered.
    """
    return _checked(getattr(_libc, function)(*args))


def waiting(function: str, *args: object) -> int:
    """Call one that may have to wait for a disk or for another machine, and let other threads work meanwhile.

    Raises:
        OSError: What the kernel answered.
    """
    return _checked(getattr(_waiting, function)(*args))


def _checked(result: int) -> int:
    if result < 0:
        refuse()
    return result


def refuse() -> None:
    """Raise the present errno."""
    errno = ctypes.get_errno()
    raise OSError(errno, os.strerror(errno))


def uint(value: int) -> ctypes.c_uint:
    return ctypes.c_uint(value)


def size(value: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(value)


def pointer(structure: ctypes.Structure) -> object:
    return ctypes.byref(structure)
