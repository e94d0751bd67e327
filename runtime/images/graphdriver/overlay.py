"""overlay: a directory a layer, which holds only what the layer brings, and overlay's signs for what it takes away.

The signs are the ones that overlay itself reads: a node 0:0 hides a name, an attribute cuts a directory
off from those below. Both are read with the rights of whoever mounts, so they work in idmapped layers
and under user namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runtime.images.archive import Unpacked, unpack
from runtime.images.stream import Limits, Source
from runtime.kernel.beneath import open_beneath
from runtime.volumes.tree import copy_attributes

OPAQUE = "trusted.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Overlay:
    name = "overlay"

    def apply(self, place: int, below: Sequence[Path], archive: Source, name: str, limits: Limits) -> Unpacked:
        result = unpack(archive, name, place, whiteouts=Signs(), limits=limits)
        for path in result.implied:
            _take_attributes(place, path, below)
        return result

    def stack(self, layers: Sequence[Path]) -> tuple[str, ...]:
        return tuple(str(layer) for layer in reversed(layers))


class Signs:
    """Whiteouts as overlay stores them. Source: Linux Documentation/filesystems/overlayfs.rst."""

    def hide(self, parent: int, name: str, path: str) -> None:
        os.mknod(name, 0o020000, os.makedev(0, 0), dir_fd=parent)

    def make_opaque(self, directory: int, path: str) -> None:
        os.setxattr(directory, OPAQUE, b"y")


def _take_attributes(place: int, path: str, below: Sequence[Path]) -> None:
    """Let a directory that the archive only passed through look as it does in the layers below, not as we made it."""
    with suppress(OSError):
        ours = open_beneath(place, path or ".", _DIRECTORY)
        try:
            for layer in reversed(below):
                root = os.open(layer, _DIRECTORY | os.O_CLOEXEC)
                try:
                    theirs = open_beneath(root, path or ".", _DIRECTORY)
                except OSError:
                    continue
                finally:
                    os.close(root)
                copy_attributes(theirs, ours)
                os.close(theirs)
                return
        finally:
            os.close(ours)
