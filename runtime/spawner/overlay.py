"""A container's root and binds as detached mounts whose ids on disk are the container's.

The spawner makes them since it has the host's rights; the child attaches them. Nothing is copied or
chowned: the mount itself maps the ids. Where a file system cannot do that, its files keep the host's
ids (so those of root look like nobody's in the container), and a warning says so; but a layer of a few
files is copied (copied.py).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from contextlib import nullcontext

from runtime.errors import InvalidSpec, KernelRefused
from runtime.kernel import clone, mount, probe, syscall
from runtime.kernel.path import open_in
from runtime.kernel.prctl import FileIds
from runtime.spawner import copied
from runtime.spawner.memory import become_root
from runtime.spec import BindMount, IdMap, LayersMount, RootFs

_CANNOT_MAP = (errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


class MountMaker:
    """Makes the mounts of one container.

    Args:
        userns: Descriptor of its user namespace; None is the host's.
        idmap: What ids it has; None for the host's.
    """

    def __init__(self, userns: int | None, idmap: IdMap | None, scratch: Scratch) -> None:
        self._userns = userns
        self._idmap = idmap
        self._base = 0 if idmap is None else idmap.base
        self._scratch = scratch
        self.warnings: list[str] = []
        # Layers that the overlay has copies of. Closing the last descriptor of a detached mount waits for
        # an RCU grace period (0.7 ms each), so the child attaches them where its old root goes anyway.
        # Source: Linux fs/namespace.c, dissolve_on_fput() and namespace_unlock().
        self.spent: list[int] = []

    def root(self, rootfs: RootFs) -> int:
        """Put the writable directory over the layers."""
        opened = self.spent
        directories: list[int] = []
        try:
            layers = [self._layer(path, opened) for path in rootfs.layers]
            upper, work, mapped = self._writable(rootfs, opened, directories)
            # New files of overlay's own are made by whoever mounted it, who must be someone the ids map.
            with FileIds(self._base, self._base) if mapped else nullcontext():
                if overlay_takes_descriptors():
                    return _mount_by_descriptor(layers, upper, work)
                parent = os.path.commonpath((rootfs.upper, rootfs.work))
                above = (os.path.relpath(rootfs.upper, parent), os.path.relpath(rootfs.work, parent))
                made = self._scratch.mount_overlay(opened, len(layers), above)
            # Attached and detached again there, they are no burden any more, and nobody may attach them again.
            while opened:
                os.close(opened.pop())
            return made
        finally:
            for fd in directories:
                os.close(fd)

    def bind(self, wanted: BindMount, copy: int) -> None:
        """Make the copy of a bind's source, as open_source() gives it, what was asked for."""
        if self._userns is not None:
            self._map_bind(wanted.source, copy)
        if wanted.read_only:
            mount.change(copy, set_=mount.RDONLY, recursive=wanted.deep_read_only)
        if wanted.attributes:
            mount.change(copy, set_=sum(mount.ATTRIBUTES[name] for name in wanted.attributes), recursive=True)
        kind = wanted.propagation.removeprefix("r")
        if kind != "private":
            _require_shared(wanted.source, kind)
        mount.change(copy, propagation=mount.PROPAGATION[kind], recursive=wanted.propagation.startswith("r"))

    def layers(self, wanted: LayersMount) -> int:
        """Make one tree of layers, read-only."""
        opened: list[int] = []
        self_made = False
        try:
            layers = [self._layer(path, opened) for path in wanted.layers]
            if len(layers) == 1:
                mount.change(layers[0], set_=mount.RDONLY)
                return opened.pop()
            if overlay_takes_descriptors():
                return mount.new_filesystem("overlay", [("lowerdir+", layer) for layer in layers], mount.RDONLY)
            made = self._scratch.mount_overlay(opened, len(layers))
            self_made = True
            mount.change(made, set_=mount.RDONLY)
            return made
        finally:
            if self_made:  # attached and detached again there, they are no burden any more
                while opened:
                    os.close(opened.pop())
            self.spent += opened

    def host_sys(self) -> int:
        """The host's /sys, read-only: a container without a network of its own may not mount one."""
        copy = mount.clone_tree("/sys", recursive=True)
        try:
            mount.change(copy, set_=mount.RDONLY, propagation=mount.PROPAGATION["private"], recursive=True)
        except BaseException:
            os.close(copy)
            raise
        return copy

    def _layer(self, path: str, opened: list[int]) -> int:
        clone_ = mount.clone_tree(path)
        opened.append(clone_)
        if self._userns is None or self._idmap is None or self._maps(clone_):
            return clone_
        try:
            opened[-1] = copied.copy(path, self._idmap.lines("uid"), self._idmap.lines("gid"))
        except copied.TooLarge:
            self._warn(path)
            return clone_
        os.close(clone_)
        return opened[-1]

    def _writable(self, rootfs: RootFs, opened: list[int], directories: list[int]) -> tuple[int, int, bool]:
        """Open the writable and the scratch directory; overlay wants them on one mount."""
        parent = os.path.commonpath((rootfs.upper, rootfs.work))
        copy = mount.clone_tree(parent)
        opened.append(copy)
        mapped = self._userns is not None and self._map(parent, copy)
        for path in (rootfs.upper, rootfs.work):
            try:
                directories.append(os.open(os.path.relpath(path, parent), os.O_PATH | os.O_CLOEXEC, dir_fd=copy))
            except OSError as error:
                raise KernelRefused(f"open {path}", error) from None
        if self._userns is not None and not mapped:
            # Then the directory must belong to the container's root, and so will what is made in it.
            os.chown(rootfs.upper, self._base, self._base)
        return directories[0], directories[1], mapped

    def _map(self, path: str, copy: int) -> bool:
        mapped = self._maps(copy)
        if not mapped:
            self._warn(path)
        return mapped

    def _map_bind(self, source: str, copy: int) -> None:
        # Perhaps only a mount below it cannot; then at least the source itself is mapped.
        if not self._maps(copy, recursive=True):
            self._map(source, copy)

    def _maps(self, copy: int, recursive: bool = False) -> bool:
        """Have a mount map the container's ids, if its file system can."""
        try:
            mount.change(copy, userns=self._userns, recursive=recursive)
        except KernelRefused as refused:
            if refused.errno not in _CANNOT_MAP:
                raise
            return False
        return True

    def _warn(self, path: str) -> None:
        self.warnings.append(f"the file system of {path} cannot map ids: its files keep the host's owners")


def open_source(wanted: BindMount) -> int:
    """Copy the mount of a bind's source.

    Raises:
        InvalidSpec: It is not there.
    """
    try:
        if wanted.subpath:
            return _part(wanted)
        return mount.clone_tree(wanted.source, recursive=wanted.recursive)
    except KernelRefused as refused:
        if refused.errno in (errno.ENOENT, errno.ENOTDIR):
            raise InvalidSpec(
                f"mount source {wanted.source} does not exist", "create it, or use a volume", kind="not_found"
            ) from None
        raise


def _part(wanted: BindMount) -> int:
    """What is at a path in a bind's source, whatever links somebody put there meanwhile."""
    whole = os.open(wanted.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inside = open_in(whole, wanted.subpath)
    except OSError as error:
        raise InvalidSpec(
            f"there is no {wanted.subpath} in {wanted.source}: {os.strerror(error.errno or 0).lower()}",
            "make it first, or mount the whole",
            kind="not_found",
        ) from None
    finally:
        os.close(whole)
    try:
        return mount.clone_tree("", dir_fd=inside, recursive=wanted.recursive)
    finally:
        os.close(inside)


def _require_shared(source: str, kind: str) -> None:
    """Refuse to promise propagation from a mount that takes no part in it."""
    probe = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{probe}") as info:
            ids = [line.split()[1] for line in info if line.startswith("mnt_id:")]
    finally:
        os.close(probe)
    with open("/proc/self/mountinfo") as table:
        for line in table:
            fields = line.split(" ")
            if fields[0] in ids:
                optional = fields[6 : fields.index("-")]
                if not any(
                    tag.startswith(("shared:", "master:") if kind == "slave" else "shared:") for tag in optional
                ):
                    raise InvalidSpec(
                        f"mount source {source} lies on {fields[4]}, which is not a shared mount: "
                        f"propagation {kind} has no effect",
                        f"mount --make-shared {fields[4]} on the host, or leave the propagation out",
                    )


_takes_descriptors: bool | None = None


def overlay_takes_descriptors() -> bool:
    """Ask the kernel, once."""
    global _takes_descriptors
    if _takes_descriptors is None:
        _takes_descriptors = probe.overlay_by_descriptor()
    return _takes_descriptors


def _mount_by_descriptor(layers: Sequence[int], upper: int, work: int) -> int:
    return mount.new_filesystem(
        "overlay", [*(("lowerdir+", layer) for layer in layers), ("upperdir", upper), ("workdir", work)]
    )


class Scratch:
    """A mount namespace in which layers are attached for as long as it takes to mount an overlay of them.

    For kernels whose overlay accepts only layers that are attached where the caller is. It is made
    when it is first needed, and empty again after every use.
    """

    def __init__(self) -> None:
        self._namespace = -1
        self._home = -1

    def mount_overlay(self, opened: Sequence[int], layers: int, above: tuple[str, str] | None = None) -> int:
        """Mount from detached mounts: the layers, then, with above, the parent of upper and work.

        Args:
            above: Paths of upper and work in their parent; None makes a tree that cannot be written to.
        """
        if self._namespace < 0:
            self._make()
        clone.enter(self._namespace, clone.CLONE_NEWNS)
        try:
            return self._mount(opened[: layers if above is None else layers + 1], layers, above)
        finally:
            mount.detach_below("/sys")
            clone.enter(self._home, clone.CLONE_NEWNS)

    def _mount(self, mounts: Sequence[int], layers: int, above: tuple[str, str] | None) -> int:
        places = mount.new_filesystem("tmpfs", (("mode", "700"),))
        target = os.open("/sys", os.O_PATH | os.O_CLOEXEC)
        try:
            mount.attach(places, target)
            for number, fd in enumerate(mounts):
                os.mkdir(f"/sys/{number}")
                place = os.open(f"/sys/{number}", os.O_PATH | os.O_CLOEXEC)
                mount.attach(fd, place)
                os.close(place)
        finally:
            os.close(target)
            os.close(places)
        below = ":".join(f"/sys/{number}" for number in range(layers))
        options = [("lowerdir", below)]
        if above is not None:
            upper, work = (os.path.join(f"/sys/{layers}", path) for path in above)
            options += [("upperdir", upper), ("workdir", work)]
        if len(below) <= mount.LONGEST_VALUE:
            return mount.new_filesystem("overlay", options)
        # An image of many layers: the older call's options may fill a page.
        os.mkdir("/sys/root")
        data = ",".join(f"{name}={value}" for name, value in options)
        syscall.libc("mount", b"overlay", b"/sys/root", b"overlay", ctypes.c_ulong(0), os.fsencode(data))
        return mount.clone_tree("/sys/root")

    def _make(self) -> None:
        self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        clone.unshare(clone.CLONE_NEWNS)
        try:
            self._namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            # A copy of the machine's mounts would keep every disk that is mounted now from being let go of.
            become_root(mount.new_filesystem("tmpfs", (("mode", "700"),)))
            os.mkdir("/sys")
        finally:
            clone.enter(self._home, clone.CLONE_NEWNS)
