"""Several layers seen as one tree, read-only and attached nowhere: what an image or a stopped container holds."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence

from runtime.kernel import mount, probe, syscall

_MS_RDONLY = 1
_takes_descriptors: bool | None = None


def takes_descriptors() -> bool:
    """Whether this kernel's overlay takes layers as descriptors: asked once."""
    global _takes_descriptors
    if _takes_descriptors is None:
        _takes_descriptors = probe.overlay_by_descriptor()
    return _takes_descriptors


def view(layers: Sequence[str]) -> int:
    """A detached mount of layers, the topmost first; closing it undoes everything.

    Raises:
        KernelRefused.
    """
    if len(layers) == 1:
        return mount.clone_tree(layers[0])
    opened: list[int] = []
    try:
        opened.extend(os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in layers)
        if takes_descriptors():
            return mount.new_filesystem("overlay", [("lowerdir+", fd) for fd in opened], mount.RDONLY)
        # The names behind descriptors are short, and need no escaping.
        below = ":".join(f"/proc/self/fd/{fd}" for fd in opened)
        if len(below) <= mount.LONGEST_VALUE:
            return mount.new_filesystem("overlay", [("lowerdir", below)], mount.RDONLY)
        return _attached_for_a_moment(f"lowerdir={below}")
    finally:
        for fd in opened:
            os.close(fd)


def _attached_for_a_moment(options: str) -> int:
    """By the older call, whose options may fill a page but whose mounts are attached somewhere."""
    with tempfile.TemporaryDirectory(prefix="netmodel-") as place:
        syscall.libc("mount", b"overlay", os.fsencode(place), b"overlay", ctypes.c_ulong(_MS_RDONLY), options.encode())
        try:
            return mount.clone_tree(place)
        finally:
            mount.detach_below(place)
