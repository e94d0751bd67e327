"""podman with a place of its own, as another engine that reads what we write."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="missing: podman")


@contextmanager
def podman() -> Iterator[Callable[..., str]]:
    """The command; returns what it prints."""
    short = tempfile.mkdtemp(prefix="pm")  # podman refuses a path of more than 50 characters
    place = [f"--{name}={short}/{name}" for name in ("root", "runroot", "tmpdir")]

    def run(*arguments: str) -> str:
        argv = ["podman", *place, "--storage-driver=vfs", "--events-backend=none", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    try:
        yield run
    finally:
        shutil.rmtree(short)
