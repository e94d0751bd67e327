"""What a container has changed of its image, read off its writable layer."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from runtime.kernel.path import open_in

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


@dataclass(frozen=True, slots=True)
class Change:
    kind: Literal["changed", "added", "deleted"]
    path: str


def changes(upper: str, layers: Sequence[str]) -> Iterator[Change]:
    """In the order of a walk from the root; a directory is changed when something in it is.

    Args:
        layers: The image's, the topmost first.
    """
    below = [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in layers]
    try:
        top = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield from _walk(top, "", below)
        finally:
            os.close(top)
    finally:
        for fd in below:
            os.close(fd)


def _walk(directory: int, path: str, below: Sequence[int]) -> Iterator[Change]:
    for name in sorted(os.listdir(directory)):
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            continue  # the container works on
        here = f"{path}/{name}"
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            yield Change("deleted", here)
            continue
        yield Change("changed" if any(_has(layer, here) for layer in below) else "added", here)
        if stat.S_ISDIR(found.st_mode):
            try:
                # A container may put a link where a directory was a moment ago.
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except OSError:
                continue
            try:
                yield from _hidden(inner, here, below)
                yield from _walk(inner, here, () if _is_opaque(inner) else below)
            finally:
                os.close(inner)


def _hidden(directory: int, path: str, below: Sequence[int]) -> Iterator[Change]:
    """What was in a directory that the container has made anew."""
    if not _is_opaque(directory):
        return
    names: set[str] = set()
    for layer in below:
        try:
            fd = open_in(layer, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        names.update(os.listdir(fd))
        os.close(fd)
    for name in sorted(names.difference(os.listdir(directory))):
        yield Change("deleted", f"{path}/{name}")


def _is_opaque(directory: int) -> bool:
    for name in _OPAQUE:
        try:
            if os.getxattr(directory, name) == b"y":
                return True
        except OSError:
            continue
    return False


def _has(layer: int, path: str) -> bool:
    try:
        os.close(open_in(layer, path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True
