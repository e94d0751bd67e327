"""Paths that stay below a directory, whatever links the container put there."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import KernelRefused
from runtime.kernel import syscall

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_UINT_MAX = 0xFFFFFFFF
# Source: linux/magic.h. With proc: sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf, devpts, mqueue.
_PROC = 0x9FA0
_KERNELS_OWN = frozenset(
    (_PROC, 0x62656572, 0x27E0EB, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xCAFE4A11, 0x1CD1, 0x19800202)
)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@contextmanager
def opened(directory: str | os.PathLike[str]) -> Iterator[int]:
    """A directory's descriptor, for the length of a block."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def of_the_kernel(path: str) -> bool:
    """Whether a file lies on one of the kernel's own file systems, which show its state: proc, sysfs and their like."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return _type_of(place) in _KERNELS_OWN
    finally:
        os.close(place)


def on_proc(descriptor: int) -> bool:
    """Whether a file or directory shows what the kernel tells of processes."""
    return _type_of(descriptor) == _PROC


def _type_of(descriptor: int) -> int:
    """Source: statfs(2), whose first word is the type on every 64-bit machine."""
    found = (ctypes.c_long * 32)()
    syscall.libc("fstatfs", descriptor, found)
    return found[0]


def open_in(root: int, path: str, flags: int = os.O_PATH) -> int:
    """Open a path as a process would whose root directory is root: links cannot lead out of it.

    Raises:
        OSError: The kernel's answer, ENOENT for a path that is not there.

    Source: openat2(2), RESOLVE_IN_ROOT.
    """
    how = _OpenHow(flags=flags | os.O_CLOEXEC, resolve=_RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    args = (root, os.fsencode(path), syscall.pointer(how), syscall.size(ctypes.sizeof(how)))
    # A rename elsewhere on the machine makes the kernel ask to try again.
    for _ in range(64):
        try:
            return syscall.call(syscall.OPENAT2, *args)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    return syscall.call(syscall.OPENAT2, *args)


def make_in(root: int, path: str, directory: bool) -> int:
    """Open a mount point below root, after making it and the directories above it if they are missing.

    Raises:
        KernelRefused: It cannot be made there, or is no directory and should be one, or the reverse.
    """
    try:
        fd = _find_or_make(root, path, directory)
    except OSError as error:
        raise KernelRefused(f"make the mount point {path}", error) from None
    if directory != _is_directory(fd):
        os.close(fd)
        is_a, wanted = ("a file", "a directory") if directory else ("a directory", "a file")
        raise KernelRefused(
            f"mount on {path}, which is {is_a} in the container while {wanted} is to be mounted there",
            OSError(errno.ENOTDIR if directory else errno.EISDIR, ""),
        )
    return fd


def _find_or_make(root: int, path: str, directory: bool) -> int:
    try:
        return open_in(root, path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    parent_path, name = os.path.split(path.rstrip("/"))
    parent = _find_or_make(root, parent_path or "/", True)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)


def _is_directory(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


def close_all_but(kept: frozenset[int]) -> None:
    """Close every descriptor from 3 on, except those."""
    first = 3
    for fd in (*sorted(kept), _UINT_MAX + 1):
        if fd > first:
            syscall.call(syscall.CLOSE_RANGE, syscall.uint(first), syscall.uint(fd - 1), 0)
        first = max(first, fd + 1)
