"""What this kernel can do for containers, found out by doing it and undoing it; never by its version.

Some fork, so they are for a process without other threads that hold locks: the doctor's, the spawner's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import KernelRefused
from runtime.kernel import clone, mount, prctl
from runtime.kernel.path import open_in

NAMESPACES = {
    "cgroup": clone.CLONE_NEWCGROUP,
    "ipc": clone.CLONE_NEWIPC,
    "mnt": clone.CLONE_NEWNS,
    "net": clone.CLONE_NEWNET,
    "pid": clone.CLONE_NEWPID,
    "time": clone.CLONE_NEWTIME,
    "user": clone.CLONE_NEWUSER,
    "uts": clone.CLONE_NEWUTS,
}


def namespace(kind: str) -> bool:
    """Tell whether a process can have a new namespace of this kind."""
    pid = os.fork()
    if pid == 0:
        try:
            clone.unshare(NAMESPACES[kind])
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def idmapped_mounts(path: str) -> bool:
    """Tell whether the file system of a path can show its files with other owners."""
    try:
        with _user_namespace() as userns:
            copy = mount.clone_tree(path)
            try:
                mount.change(copy, userns=userns)
            finally:
                os.close(copy)
    except (KernelRefused, OSError):
        return False
    return True


def overlay_by_descriptor() -> bool:
    """Tell whether overlay takes its layers as descriptors, which saves attaching them first."""
    try:
        layer = mount.clone_tree("/")
    except KernelRefused:
        return False
    try:
        os.close(mount.new_filesystem("overlay", (("lowerdir+", layer), ("lowerdir+", layer))))
    except KernelRefused as refused:
        # Refused as the same layer twice, it did take them.
        return refused.errno == errno.ELOOP
    finally:
        os.close(layer)
    return True


def filesystem(kind: str) -> bool:
    """Tell whether the kernel has a file system by this name."""
    with open("/proc/filesystems") as table:
        return any(line.split()[-1] == kind for line in table)


def beneath_lookups() -> bool:
    """Tell whether a path can be looked up so that no link leads out of a directory (openat2)."""
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(open_in(root, "/"))
    except OSError:
        return False
    finally:
        os.close(root)
    return True


def clone_into_cgroup(directory: str) -> bool:
    """Tell whether a process can be born in a cgroup: a directory of a cgroup2 mount."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        pid = clone.clone(cgroup_fd=fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def missing_capabilities() -> tuple[str, ...]:
    """Capabilities that not even root has on this machine."""
    return tuple(name for name in prctl.CAPABILITIES if not prctl.has_capability(name))


@contextmanager
def _user_namespace() -> Iterator[int]:
    """A user namespace with ids mapped to 100,000 and on, for as long as the block."""
    made, tell = os.pipe2(os.O_CLOEXEC)
    wait, end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(end)
            clone.unshare(clone.CLONE_NEWUSER)
            os.write(tell, b"1")
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    try:
        if not os.read(made, 1):
            raise OSError(errno.EPERM, "no user namespace")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write("0 100000 65536")
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        os.close(made)
        os.close(end)
        os.waitpid(pid, 0)
