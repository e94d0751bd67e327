"""The container's /dev: a small file system of its own, made with the rights of the host.

A user namespace may not make device nodes, so the spawner does; they and the directory then belong to
the container's root.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Literal

from runtime.errors import InvalidSpec
from runtime.kernel import mount
from runtime.spec import ContainerSpec, DeviceNode, IdMap

_ALWAYS = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_DIRECTORIES = ("pts", "shm", "mqueue")
_OWN = {*_ALWAYS, *_LINKS, *_DIRECTORIES, "console", "core", "log"}
_SIZE = "65536k"


def new_dev(spec: ContainerSpec, owner: int) -> int:
    """Make it as a detached mount.

    Args:
        owner: The host's id for the container's root.
    """
    options = (("size", _SIZE), ("mode", "755"), ("uid", str(owner)), ("gid", str(owner)))
    dev = mount.new_filesystem("tmpfs", options, mount.NOSUID | mount.NOEXEC)
    try:
        for name, (major, minor) in _ALWAYS.items():
            _make_node(dev, name, stat.S_IFCHR | 0o666, os.makedev(major, minor), owner)
        for name in _DIRECTORIES:
            os.mkdir(name, 0o755, dir_fd=dev)
        for name, target in _LINKS.items():
            os.symlink(target, name, dir_fd=dev)
            os.chown(name, owner, owner, dir_fd=dev, follow_symlinks=False)
        for node in spec.nodes:
            _make_described(dev, node, spec.idmap)
        for device in spec.devices:
            _copy_node(dev, device, owner)
        if spec.privileged:
            _copy_all(dev, owner)
    except BaseException:
        os.close(dev)
        raise
    return dev


def _make_node(dev: int, name: str, mode: int, device: int, owner: int) -> None:
    os.mknod(name, mode, device, dir_fd=dev)
    if owner:
        os.chown(name, owner, owner, dir_fd=dev)


def _copy_node(dev: int, device: str, owner: int) -> None:
    """Make a device of the host, "/dev/fuse" or "/dev/sda:/dev/disk"."""
    source, _, target = device.partition(":")
    target = os.path.normpath(target.partition(":")[0] or source)
    try:
        status = os.stat(source)
    except OSError as error:
        raise InvalidSpec(f"device {source}: {error.strerror}", "look at ls /dev on the host") from None
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise InvalidSpec(f"device {source} is not a device", "mount it as a volume instead")
    name = os.path.relpath(target, "/dev")
    if name.startswith(".."):
        raise InvalidSpec(f"device {source} cannot appear at {target}", "give a place below /dev")
    _make_parents(dev, name)
    with suppress(FileExistsError):  # one of those that every container has
        _make_node(dev, name, status.st_mode, status.st_rdev, owner)


def _make_described(dev: int, node: DeviceNode, idmap: IdMap | None) -> None:
    """Make a node as it was described, with the owners and the mode that it is to have."""
    name = os.path.relpath(node.path, "/dev")
    _make_parents(dev, name)
    kind = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "p": stat.S_IFIFO}[node.kind]
    with suppress(FileExistsError):  # one of those that every container has
        os.mknod(name, kind | node.mode, os.makedev(node.major, node.minor), dir_fd=dev)
        os.chown(name, _on_host(idmap, "uid", node.uid), _on_host(idmap, "gid", node.gid), dir_fd=dev)
        os.chmod(name, node.mode, dir_fd=dev)  # whatever the umask left of it


def _on_host(idmap: IdMap | None, kind: Literal["uid", "gid"], inside: int) -> int:
    if idmap is None:
        return inside
    for first, outside, count in idmap.lines(kind):
        if first <= inside < first + count:
            return outside + inside - first
    raise InvalidSpec(f"a device's {kind} {inside} is not in the container's user namespace", "map it, or leave it out")


def _make_parents(dev: int, name: str) -> None:
    directory = ""
    for part in name.split("/")[:-1]:
        directory = f"{directory}/{part}" if directory else part
        with suppress(FileExistsError):
            os.mkdir(directory, 0o755, dir_fd=dev)


def _copy_all(dev: int, owner: int) -> None:
    """Make every device that is directly in the host's /dev or in a directory of it on the same file system."""
    top = os.stat("/dev").st_dev
    for directory, directories, files in os.walk("/dev"):
        directories[:] = [name for name in directories if os.lstat(f"{directory}/{name}").st_dev == top]
        for name in files:
            path = f"{directory}/{name}"
            mode = os.lstat(path).st_mode
            if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and path.removeprefix("/dev/") not in _OWN:
                _copy_node(dev, path, owner)
