"""copy: a directory a layer, which holds everything a container sees of it and of the layers below.

For file systems that cannot keep overlay's signs. It costs the disk what overlay saves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runtime.images.archive import Unpacked, unpack
from runtime.images.stream import Limits, Source
from runtime.kernel.beneath import open_beneath
from runtime.volumes import tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Copied:
    name = "copy"

    def apply(self, place: int, below: Sequence[Path], archive: Source, name: str, limits: Limits) -> Unpacked:
        """Unpack beside a copy of what is below, then put the one over the other: whiteouts concern only the copy."""
        if not below:
            return unpack(archive, name, place, whiteouts=_Nothing(), limits=limits)
        os.mkdir(_PART, 0o700, dir_fd=place)
        part = os.open(_PART, _DIRECTORY | os.O_CLOEXEC, dir_fd=place)
        try:
            gone = _Noted()
            result = unpack(archive, name, part, whiteouts=gone, limits=limits)
            base = os.open(below[-1], _DIRECTORY | os.O_CLOEXEC)
            try:
                tree.Copy().run(base, place)
            finally:
                os.close(base)
            for path in gone.hidden:
                _remove(place, path)
            for path in gone.opaque:
                _empty(place, path)
            _merge(part, place, frozenset(result.implied), "")
        finally:
            os.close(part)
        os.rmdir(_PART, dir_fd=place)
        return result

    def stack(self, layers: Sequence[Path]) -> tuple[str, ...]:
        return (str(layers[-1]),) if layers else ()


_PART = ".netmodel-layer"


class _Nothing:
    """The lowest layer has nothing to take away."""

    def hide(self, parent: int, name: str, path: str) -> None: ...

    def make_opaque(self, directory: int, path: str) -> None: ...


class _Noted:
    def __init__(self) -> None:
        self.hidden: list[str] = []
        self.opaque: list[str] = []

    def hide(self, parent: int, name: str, path: str) -> None:
        self.hidden.append(path)

    def make_opaque(self, directory: int, path: str) -> None:
        self.opaque.append(path)


def _remove(root: int, path: str) -> None:
    """Remove whatever a path below root is, following no link."""
    above, _, name = path.rpartition("/")
    with suppress(FileNotFoundError, NotADirectoryError):
        parent = open_beneath(root, above or ".", _DIRECTORY)
        try:
            _remove_entry(parent, name)
        finally:
            os.close(parent)


def _remove_entry(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        directory = open_beneath(parent, name, _DIRECTORY)
        try:
            for entry in os.listdir(directory):
                _remove_entry(directory, entry)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=parent)


def _empty(root: int, path: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        directory = open_beneath(root, path or ".", _DIRECTORY)
        try:
            for entry in os.listdir(directory):
                if path or entry != _PART:
                    _remove_entry(directory, entry)
        finally:
            os.close(directory)


def _merge(source: int, target: int, implied: frozenset[str], path: str) -> None:
    """Move everything from one directory into another on the same file system; files replace, directories join."""
    for name in os.listdir(source):
        below = f"{path}/{name}" if path else name
        try:
            inner = open_beneath(source, name, _DIRECTORY)
        except OSError:
            with suppress(FileNotFoundError):
                _remove_entry(target, name)
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            continue
        try:
            try:
                joined = open_beneath(target, name, _DIRECTORY)
            except OSError:  # nothing is there, or no directory
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=target)
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                continue
            try:
                _merge(inner, joined, implied, below)
            finally:
                os.close(joined)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=source)
    if path not in implied:
        tree.copy_attributes(source, target)
