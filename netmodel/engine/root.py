"""The state root: where everything of one engine lies, held by one engine at a time."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path

from netmodel.errors import WRITABLE_AGAIN, Conflict, Forbidden, Invalid, Unavailable


class Root:
    """A directory, locked while this object is open.

    The lock is the kernel's (flock): it ends with the process that holds it, however that dies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that mark what we put into the kernel as this root's."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]

    @property
    def database(self) -> Path:
        return self.path / "state.db"

    @property
    def settings(self) -> Path:
        return self.path / "engine.json"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def containers(self) -> Path:
        return self.path / "containers"

    @property
    def layers(self) -> Path:
        return self.path / "layers"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def volumes(self) -> Path:
        return self.path / "volumes"

    @property
    def filters(self) -> Path:
        return self.path / "seccomp"

    @property
    def spawner(self) -> Path:
        return self.path / "spawner"

    def open(self) -> None:
        """Make the directories and take the lock.

        Raises:
            NetmodelError: Not root; another engine holds it; it cannot be made.
        """
        if os.geteuid() != 0:
            raise Forbidden(
                "the engine must run as root: it makes namespaces, links and mounts", "run it with sudo, or as root"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # One path, one id: however it was written, the engine means the same directory.
            self.path = Path(os.path.realpath(self.path))
            for directory in (self.containers, self.layers, self.images, self.volumes, self.spawner):
                directory.mkdir(exist_ok=True)
            # Users of containers pass through to what is theirs, and list nothing.
            self.path.chmod(0o711)
        except (FileExistsError, NotADirectoryError) as error:
            raise Invalid(
                f"cannot use {self.path} as the state root: it is no directory", "choose another --root"
            ) from error
        except OSError as error:
            if error.errno == errno.EROFS:
                raise Unavailable(
                    f"the state root {self.path} is on a read-only file system", WRITABLE_AGAIN
                ) from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Invalid(
                f"cannot use {self.path} as the state root: {error.strerror}", "choose another --root"
            ) from error
        self._take_lock()

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise Conflict(
                f"an engine is already running on {self.path} (pid {holder or 'unknown'})",
                "use it, stop it with 'netmodel engine stop', or choose another --root",
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise Unavailable(f"cannot write under {self.path}: {error.strerror}", "make room on its disk") from error
        self._lock = descriptor

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
