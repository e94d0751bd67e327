"""Walking trees that somebody else filled: into plain directories only, never through a link or onto a mount.

Upper layers, image archives and volumes are written by containers, and may be swapped while we look.
"""

from __future__ import annotations

import ctypes
import os

from runtime.kernel import syscall

_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_STRICT = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH

# This one may take seconds, so it lets the interpreter's other threads run.
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory: int, path: str, flags: int) -> int:
    """Open a path below a directory, provided that no component is a link or a mount point.

    Raises:
        OSError: ELOOP for a link, EXDEV for a mount point, ENOTDIR, ENOENT.

    Source: openat2(2).
    """
    how = _OpenHow(flags=flags | os.O_NOFOLLOW | os.O_CLOEXEC, resolve=_STRICT)
    return syscall.call(
        syscall.OPENAT2, directory, os.fsencode(path), syscall.pointer(how), syscall.size(ctypes.sizeof(how))
    )


def sync_file_system(descriptor: int) -> None:
    """Bring all that its file system holds in memory to the disk. Like: sync --file-system"""
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
