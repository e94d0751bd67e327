"""Mounts by descriptor: made detached, changed while nobody sees them, then attached in one step.

Detached mounts are what lets a privileged process prepare the mounts of a container's namespace, and
what makes undoing free: a mount whose descriptor is closed before it was attached is gone.

Source: open_tree(2), move_mount(2), fsopen(2), mount_setattr(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence

from runtime.errors import KernelRefused
from runtime.kernel import syscall
from runtime.kernel.syscall import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE

RDONLY = 0x1
NOSUID = 0x2
NODEV = 0x4
NOEXEC = 0x8
ATTRIBUTES = {"ro": RDONLY, "nosuid": NOSUID, "nodev": NODEV, "noexec": NOEXEC}
_IDMAP = 0x100000
NOATIME = 0x10
STRICTATIME = 0x20
NODIRATIME = 0x80
NOSYMFOLLOW = 0x200000

_MS_REC = 0x4000
PROPAGATION = {"private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}

_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_EMPTY_PATHS = 0x04 | 0x40
# Of an option, in bytes. Source: Linux fs/fsopen.c, fsconfig().
LONGEST_VALUE = 255
_FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_SET_FLAG, _SET_STRING, _SET_FD, _CREATE = 0, 1, 5, 6
_MNT_DETACH = 2
# The one old call here without a wrapper in libc.
_PIVOT_ROOT = 155 if sys.maxsize > 2**32 and os.uname().machine == "x86_64" else 41


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def clone_tree(path: str, *, dir_fd: int = AT_FDCWD, recursive: bool = False) -> int:
    """Copy the mount at a path, cut to what is below the path, and return the detached copy.

    Args:
        path: "" is dir_fd itself.
        recursive: With the mounts below it.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    flags |= AT_RECURSIVE if recursive else 0
    flags |= 0 if path else AT_EMPTY_PATH
    try:
        return syscall.call(syscall.OPEN_TREE, dir_fd, os.fsencode(path), syscall.uint(flags))
    except OSError as error:
        raise KernelRefused(f"copy the mount at {path or 'a descriptor'}", error) from None


def change(
    fd: int,
    *,
    set_: int = 0,
    clear: int = 0,
    propagation: int = 0,
    userns: int | None = None,
    recursive: bool = False,
) -> None:
    """Change a mount's attributes, all or none of them.

    Args:
        userns: Its ids on disk are that user namespace's from now on; only once, and only while detached.
        recursive: Those of the mounts below it as well.
    """
    attr = _MountAttr(set=set_, clear=clear, propagation=propagation)
    if userns is not None:
        attr.set |= _IDMAP
        attr.userns = userns
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    try:
        syscall.call(
            syscall.MOUNT_SETATTR,
            fd,
            b"",
            syscall.uint(flags),
            syscall.pointer(attr),
            syscall.size(ctypes.sizeof(attr)),
        )
    except OSError as error:
        what = "map the ids of a mount" if userns is not None else "change the attributes of a mount"
        raise KernelRefused(what, error) from None


def new_filesystem(
    kind: str, options: Sequence[tuple[str, str | int | None]] = (), attributes: int = 0, *, source: str = ""
) -> int:
    """Make a file system and return it as a detached mount.

    Args:
        options: A string is a value, a number a descriptor, None a flag.
        attributes: RDONLY, NOSUID, NODEV, NOEXEC and so on.
        source: What is mounted: a device, or another machine's directory. Others may have to be waited for.

    Raises:
        KernelRefused: With the file system's own words, where it logged any.
    """
    context = -1
    option = ""
    try:
        context = syscall.call(syscall.FSOPEN, kind.encode(), _FSOPEN_CLOEXEC)
        # What the first column of the mount table shows.
        option = f" from {source}" if source else ""
        _configure(context, "source", source or kind)
        for name, value in options:
            option = f" with {name}" if value is None else f" with {name}={value}"
            _configure(context, name, value)
        option = f" from {source}" if source else ""
        syscall.waiting("syscall", syscall.FSCONFIG, context, _CREATE, None, None, 0)
        return syscall.call(syscall.FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes)
    except OSError as error:
        if error.errno == errno.ENODEV and context < 0:
            raise KernelRefused(
                f"mount {kind}", error, detail="this kernel has no such file system", hint=f"modprobe {kind}"
            ) from None
        raise KernelRefused(f"mount {kind}{option}", error, detail=_messages(context)) from None
    finally:
        if context >= 0:
            os.close(context)


def is_known(kind: str) -> bool:
    """Whether this kernel has a file system, or loads it when asked."""
    try:
        os.close(syscall.waiting("syscall", syscall.FSOPEN, kind.encode(), _FSOPEN_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise KernelRefused(f"ask for file system {kind}", error) from None
    return True


def _configure(context: int, name: str, value: str | int | None) -> None:
    key = name.encode()
    if value is None:
        syscall.call(syscall.FSCONFIG, context, _SET_FLAG, key, None, 0)
    elif isinstance(value, int):
        syscall.call(syscall.FSCONFIG, context, _SET_FD, key, None, value)
    else:
        syscall.call(syscall.FSCONFIG, context, _SET_STRING, key, os.fsencode(value), 0)


def _messages(context: int) -> str:
    """Read what the file system had to say; each message starts with its level ("e ")."""
    lines = []
    while context >= 0:
        try:
            lines.append(os.read(context, 4096).decode(errors="replace").strip()[2:])
        except OSError:
            break
    return "; ".join(lines)


def attach(fd: int, target: int) -> None:
    """Put a detached mount over the file or directory that target is a descriptor of."""
    try:
        syscall.call(syscall.MOVE_MOUNT, fd, b"", target, b"", syscall.uint(_MOVE_EMPTY_PATHS))
    except OSError as error:
        raise KernelRefused("attach a mount", error) from None


def make_rprivate(path: str) -> None:
    """Neither send nor receive mounts from here on, at path and below."""
    syscall.libc("mount", None, os.fsencode(path), None, ctypes.c_ulong(PROPAGATION["private"] | _MS_REC), None)


def detach_below(path: str) -> None:
    """Take away the topmost mount at a path, with those below it, as soon as nobody uses it."""
    syscall.waiting("umount2", os.fsencode(path), _MNT_DETACH)


def pivot_root(root: int) -> None:
    """Make the mount at a descriptor the root of this mount namespace and let go of the old one."""
    try:
        os.fchdir(root)
        # Old root over new root, so that no directory is needed to put it in: pivot_root(2), "pivot_root(".", ".")".
        syscall.call(_PIVOT_ROOT, b".", b".")
        syscall.libc("umount2", b".", _MNT_DETACH)
        os.chdir("/")
    except OSError as error:
        raise KernelRefused("make the container's root the root", error) from None
