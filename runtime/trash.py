"""Deleting directory trees that containers wrote: safely, and off the path of whoever waits.

A tree is renamed away, which takes microseconds whatever its size, and a thread deletes it. What a
crash leaves in the trash goes at the next start.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import itertools
import os
import secrets
import threading
from pathlib import Path

from runtime.kernel.beneath import open_beneath

# Trees deeper than this are cut, and the piece deleted on its own: a container may nest directories
# without end, we may neither recurse nor hold descriptors without end.
_DEEPEST = 64


class Trash:
    """Args:
    directory: On the file system of what will be discarded; made when first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._working = False
        self._more = False
        self._failures: list[OSError] = []

    def discard(self, path: Path) -> None:
        """Make a tree disappear now and delete it soon; one that is gone is no error."""
        try:
            os.rename(path, self._directory / secrets.token_hex(8))
        except FileNotFoundError:
            if not os.path.lexists(path):
                return
            os.makedirs(self._directory, 0o700, exist_ok=True)
            os.rename(path, self._directory / secrets.token_hex(8))
        self._wake()

    def sweep(self) -> None:
        """Delete what an earlier process left here."""
        if os.path.isdir(self._directory):
            self._wake()

    def drain(self) -> None:
        """Wait until all that was discarded is deleted.

        Raises:
            ExceptionGroup: Some of it could not be, each with its reason; the next sweep tries again.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._working)
            failures, self._failures = self._failures, []
        if failures:
            raise ExceptionGroup(f"{self._directory} could not be emptied", failures)

    def _wake(self) -> None:
        with self._changed:
            self._more = True
            if not self._working:
                # Not threading.Thread, whose start() would wait until the thread has had its turn.
                _thread.start_new_thread(self._work, ())
                self._working = True

    def _work(self) -> None:
        """Empty the trash until nothing new came meanwhile; the thread lives no longer than its work."""
        while True:
            with self._changed:
                if not self._more:
                    self._working = False
                    self._changed.notify_all()
                    return
                self._more = False
            failures = empty(self._directory)
            with self._changed:
                self._failures = failures


def empty(directory: Path) -> list[OSError]:
    """Delete everything in a directory and say what could not be deleted."""
    failures: dict[str, OSError] = {}
    with contextlib.suppress(FileNotFoundError):
        trash = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Again until only the hopeless is left: cutting deep trees puts new ones here.
            while fresh := [name for name in os.listdir(trash) if name not in failures]:
                for name in fresh:
                    try:
                        _remove(trash, name, trash, _DEEPEST)
                    except OSError as error:
                        failures[name] = error
        finally:
            os.close(trash)
    return list(failures.values())


_cut = itertools.count()


def _remove(parent: int, name: str, trash: int, depth: int) -> None:
    """Delete one entry of a directory, with everything below it, following neither links nor mounts."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    with contextlib.suppress(OSError):  # mostly empty: overlay's work directory, an unused upper layer
        os.rmdir(name, dir_fd=parent)
        return
    if depth == 0:
        os.rename(name, f"cut-{os.getpid()}-{next(_cut)}", src_dir_fd=parent, dst_dir_fd=trash)
        return
    directory = _open(parent, name)
    try:
        first: OSError | None = None
        for entry in os.listdir(directory):
            try:
                _remove(directory, entry, trash, depth - 1)
            except OSError as error:
                first = first or error
    finally:
        os.close(directory)
    if first is not None:
        raise first
    os.rmdir(name, dir_fd=parent)


def _open(parent: int, name: str) -> int:
    try:
        return open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise OSError(errno.EBUSY, "something is still mounted on it", name) from None
