"""Compiled filters, kept in files by what they were made of, so that each is made once on a machine."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from runtime.seccomp import compile as compiling
from runtime.seccomp.profile import Profile, native_kernel

# Part of every name: another compiler makes other programs of the same policy.
_EDITION = "1"


class Filters:
    """The filters of one engine.

    Args:
        directory: Made when it is first needed. What is in it can be deleted at any time but while a container starts.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def path(self, profile: Profile, capabilities: Collection[str]) -> str:
        """The file with the program for a container of these capabilities; made if it is missing.

        Raises:
            BadProfile, SeccompUnavailable: See compile_filter().
        """
        mattering = sorted(profile.capabilities().intersection(capabilities))
        ingredients = (_EDITION, os.uname().machine, native_kernel(), profile, mattering)
        name = hashlib.sha256(repr(ingredients).encode()).hexdigest()[:32]
        path = str(self._directory / f"{name}.bpf")
        with self._lock:
            if name not in self._known or not os.path.exists(path):
                if not os.path.exists(path):
                    self._write(path, compiling.compile_filter(profile, mattering))
                self._known.add(name)
        return path

    def _write(self, path: str, program: bytes) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        half = f"{path}.{os.getpid()}"
        try:
            Path(half).write_bytes(program)
            os.rename(half, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(half)
            raise
