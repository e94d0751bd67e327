"""The kernel's file systems of a container, made by the child since they show its own namespaces.

They are made detached before the container's root is there, which also is the only time the kernel
allows it: a user namespace may mount /proc and /sys only while it can see the host's whole ones.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from runtime.errors import InvalidSpec, KernelRefused
from runtime.kernel import mount
from runtime.kernel.mount import NODEV, NOEXEC, NOSUID, RDONLY
from runtime.kernel.path import make_in, on_proc, open_in
from runtime.spec import ContainerSpec, TmpfsMount

_OPPOSITES = ("rw", "suid", "dev", "exec")
_NULL = os.makedev(1, 3)
_HARMLESS_PROC_FILES = ("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime")
_HARMLESS = NOSUID | NODEV | NOEXEC
_TTY = 5  # the group of terminals, so that write(1) and wall(1) work; the same wherever there is one


@dataclass(frozen=True, slots=True)
class CgroupView:
    """A hierarchy to show: the directory's name below /sys/fs/cgroup ("" is that directory itself), how to mount it."""

    name: str
    kind: str
    options: tuple[tuple[str, None], ...] = ()


def make(spec: ContainerSpec, own_network: bool) -> list[tuple[str, int]]:
    """Make them, each with the place it goes to, in the order of attaching."""
    made = [("/proc", _new_proc())]
    if own_network:
        # Shows the network namespace of whoever mounts it.
        attributes = _HARMLESS if spec.privileged else _HARMLESS | RDONLY
        made.append(("/sys", mount.new_filesystem("sysfs", attributes=attributes)))
    shm = (("size", str(spec.shm_bytes)), ("mode", "1777"))
    pts: tuple[tuple[str, str | None], ...] = (("newinstance", None), ("ptmxmode", "0666"), ("mode", "0620"))
    if spec.idmap is None or any(first <= _TTY < first + count for first, _, count in spec.idmap.lines("gid")):
        pts += (("gid", str(_TTY)),)
    made.append(("/dev/pts", mount.new_filesystem("devpts", pts, NOSUID | NOEXEC)))
    if spec.ipc == "private":
        made.append(("/dev/shm", mount.new_filesystem("tmpfs", shm, _HARMLESS)))
    if spec.ipc != "host" or spec.idmap is None:  # only who owns the IPC namespace may mount its queues
        made.append(("/dev/mqueue", mount.new_filesystem("mqueue", (), _HARMLESS)))
    return made


def _new_proc() -> int:
    try:
        return mount.new_filesystem("proc", attributes=_HARMLESS)
    except KernelRefused as refused:
        if refused.errno == errno.EPERM:
            refused.hint = (
                "something on this machine is mounted over parts of /proc: run netmodel outside that container"
            )
        raise


def new_tmpfs(wanted: TmpfsMount) -> int:
    """Make the tmpfs that a container asked for."""
    options: list[tuple[str, str | int | None]] = [("mode", f"{wanted.mode:o}")]
    if wanted.size_bytes is not None:
        options.append(("size", str(wanted.size_bytes)))
    attributes = 0
    for option in wanted.options:
        name, _, value = option.partition("=")
        if name in mount.ATTRIBUTES:
            attributes |= mount.ATTRIBUTES[name]
        elif name not in _OPPOSITES:
            options.append((name, value or None))
    return mount.new_filesystem("tmpfs", options, attributes)


def part_of(whole: int, path: str) -> int:
    """Copy what is at a path in a detached mount, which then lies where the old root is, to go with it.

    Only what is attached can be copied from, until Linux 6.15. whole is closed.
    """
    place = os.open("/sys", os.O_PATH | os.O_CLOEXEC)
    mount.attach(whole, place)
    os.close(place)
    try:
        inside = open_in(whole, path)
    except OSError as error:
        raise InvalidSpec(
            f"there is no {path} in what is to be mounted: {os.strerror(error.errno or 0).lower()}",
            "name a path that exists in the image",
            kind="not_found",
        ) from None
    finally:
        os.close(whole)
    copy = mount.clone_tree("", dir_fd=inside)
    os.close(inside)
    return copy


def show_cgroups(root: int, views: Sequence[CgroupView]) -> None:
    """Mount the container's part of the hierarchies, read-only; where the kernel refuses, leave it out."""
    try:
        target = open_in(root, "/sys/fs/cgroup")
    except OSError:
        return
    try:
        _show_cgroups(target, views)
    except KernelRefused:
        pass  # a container does not need to see them
    finally:
        os.close(target)


def _show_cgroups(target: int, views: Sequence[CgroupView]) -> None:
    if [view.name for view in views] == [""]:
        _attach_and_close(mount.new_filesystem(views[0].kind, (), _HARMLESS | RDONLY), target)
        return
    directory = mount.new_filesystem("tmpfs", (("mode", "755"), ("size", "64k")), _HARMLESS)
    mount.attach(directory, target)
    for view in views:
        os.mkdir(view.name, 0o755, dir_fd=directory)
        hierarchy = mount.new_filesystem(view.kind, view.options, _HARMLESS | RDONLY)
        point = os.open(view.name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
        _attach_and_close(hierarchy, point)
        os.close(point)
    mount.change(directory, set_=RDONLY)
    os.close(directory)


def mask(root: int, paths: Sequence[str]) -> None:
    """Hide paths: a file behind /dev/null, a directory behind an empty one. What is not there needs no hiding."""
    empty = -1
    for path in paths:
        try:
            target = open_in(root, path)
        except OSError:
            continue
        if os.fstat(target).st_mode & 0o170000 == 0o040000:
            if empty < 0:
                empty = mount.new_filesystem("tmpfs", (("size", "0"), ("mode", "555")), _HARMLESS | RDONLY)
                cover = os.dup(empty)
                mount.attach(cover, target)
                os.close(cover)
            else:
                _attach_and_close(mount.clone_tree("", dir_fd=empty), target)
        else:
            null = _null(open_in(root, "/dev/null"))
            _attach_and_close(mount.clone_tree("", dir_fd=null), target)
            os.close(null)
        os.close(target)
    if empty >= 0:
        os.close(empty)


def make_read_only(root: int, paths: Sequence[str]) -> None:
    """Put each path, with the mounts below it, read-only over itself."""
    for path in paths:
        try:
            target = open_in(root, path)
        except OSError:
            continue
        copy = mount.clone_tree("", dir_fd=target, recursive=True)
        mount.change(copy, set_=RDONLY, recursive=True)
        _attach_and_close(copy, target)
        os.close(target)


def attach_at(root: int, path: str, fd: int) -> None:
    """Attach a mount at a path of the container, made if it is missing; fd is closed."""
    target = make_in(root, path, os.fstat(fd).st_mode & 0o170000 == 0o040000)
    try:
        mount.attach(fd, target)
    finally:
        os.close(target)
        os.close(fd)


def attach_wanted(root: int, path: str, fd: int) -> None:
    """Attach what its owner wants mounted, but not over /proc, wherever links lead: there we look and write ourselves.

    Source: runc's checkProcMount() (libcontainer/rootfs_linux.go), CVE-2019-16884 and CVE-2025-52881.
    """
    target = make_in(root, path, stat.S_ISDIR(os.fstat(fd).st_mode))
    try:
        if on_proc(target) and not on_proc(fd) and not _is_harmless(root, target):
            raise InvalidSpec(
                f"nothing may be mounted over {path}, in which the kernel shows processes",
                f"but for the files {', '.join(_HARMLESS_PROC_FILES)} of /proc",
            )
        mount.attach(fd, target)
    finally:
        os.close(target)
        os.close(fd)


def _is_harmless(root: int, target: int) -> bool:
    """Whether it is one of the files that nobody trusts, and that LXCFS and its like stand in for."""
    for name in _HARMLESS_PROC_FILES:
        with suppress(OSError):
            file = open_in(root, f"/proc/{name}")
            found = os.path.sameopenfile(file, target)
            os.close(file)
            if found:
                return True
    return False


def open_null() -> int:
    """Open the container's own /dev/null for reading and writing."""
    place = _null(os.open("/dev/null", os.O_PATH | os.O_CLOEXEC))
    try:
        return os.open(f"/proc/self/fd/{place}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(place)


def _null(place: int) -> int:
    """The same, once it is seen to be the null device and nothing that a volume put there (CVE-2025-31133)."""
    found = os.fstat(place)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != _NULL:
        os.close(place)
        raise InvalidSpec("the container's /dev/null is not the null device", "mount nothing over /dev or /dev/null")
    return place


def _attach_and_close(fd: int, target: int) -> None:
    mount.attach(fd, target)
    os.close(fd)
