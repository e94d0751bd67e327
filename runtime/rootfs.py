"""The writable layer of each container: overlay's upper and work directories, side by side; and one beneath all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from runtime.errors import RuntimeFault
from runtime.kernel import quota
from runtime.kernel.path import opened
from runtime.trash import Trash
from runtime.volumes.tree import usage

_BELOW_DIRECTORIES = ("dev", "etc", "proc", "sys")
_BELOW_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


class Layers:
    """Writable layers below one directory, which only root may enter: a container's setuid
    programs lie in it, owned by the container's ids as they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._below: str | None = None
        self._trash = Trash(directory / ".trash")
        self._trash.sweep()

    def create(self, container: str, like: str | None = None, size_bytes: int | None = None) -> tuple[Path, Path]:
        """Make an empty layer, or return the one that is there: a stopped container keeps its files.

        Args:
            container: Its id.
            like: The image's topmost layer; the root directory gets its mode and owner.
            size_bytes: How much a new one may take; None is no limit.

        Raises:
            RuntimeFault: The file system cannot limit it.
        """
        upper, work = self.paths(container)
        try:
            os.mkdir(upper.parent, 0o700)
        except FileNotFoundError:
            os.makedirs(upper.parent, 0o700, exist_ok=True)
        except FileExistsError:
            size_bytes = None
        if size_bytes is not None:
            self._limit(upper.parent, size_bytes)
        for path in (work, upper):
            if not os.path.isdir(path):
                os.mkdir(path, 0o755)
        if like is not None:
            root = os.stat(like)
            os.chown(upper, root.st_uid, root.st_gid)
            os.chmod(upper, root.st_mode & 0o7777)
        return upper, work

    def below(self) -> str:
        """The layer beneath every image: places for what every container has mounted, and nothing in them.

        Where an image lacks them, each would be made in the writable layer, for 0.4 ms a start.
        """
        if self._below is None:
            below = self._directory / ".below"
            for name in _BELOW_DIRECTORIES:
                (below / name).mkdir(parents=True, exist_ok=True)
                (below / name).chmod(0o755)  # whatever our umask is
            for name in _BELOW_FILES:
                (below / name).touch()
            self._below = str(below)
        return self._below

    def _limit(self, layer: Path, size_bytes: int) -> None:
        """Before anything is in it: upper and work must be of one project, or nothing could be moved between them."""
        try:
            with opened(layer) as directory:
                quota.limit(directory, size_bytes)
        except quota.NoQuotas as error:
            raise RuntimeFault(
                f"a container's root cannot be limited in size: {error}", error.hint, kind="missing_feature"
            ) from error

    def paths(self, container: str) -> tuple[Path, Path]:
        """Where upper and work are, whether or not they exist."""
        if not container or "/" in container or container.startswith("."):
            raise ValueError(f"{container!r} is not the id of a container")
        return self._directory / container / "upper", self._directory / container / "work"

    def size(self, container: str) -> int:
        """Bytes on the disk of what it has written; 0 where there is no layer."""
        upper, _ = self.paths(container)
        try:
            directory = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return usage(directory)
        finally:
            os.close(directory)

    def delete(self, container: str) -> None:
        """Remove a layer, at once for the caller, whatever its size; one that is gone is no error."""
        upper, _ = self.paths(container)
        with suppress(FileNotFoundError), opened(upper.parent) as directory:
            quota.lift(directory)
        self._trash.discard(upper.parent)

    def containers(self) -> list[str]:
        """Ids of all that have a layer here."""
        try:
            return sorted(name for name in os.listdir(self._directory) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def drain(self) -> None:
        """Wait until deleted layers have left the disk; see Trash.drain()."""
        self._trash.drain()
