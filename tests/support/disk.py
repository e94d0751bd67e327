"""Disks to mount: files that the kernel takes for block devices."""

from __future__ import annotations

import errno
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.wait import eventually

# The smallest that each kind is made in; the files are sparse.
_MIB = {"ext4": 16, "btrfs": 128, "xfs": 300}


@contextmanager
def disk(directory: Path, kind: str, *options: str) -> Iterator[str]:
    """A block device with an empty file system of a kind; at the end nobody must have it any more.

    Args:
        options: Of mkfs.
    """
    image = directory / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(_MIB[kind] << 20)
    subprocess.run([f"mkfs.{kind}", "-q", *options, image], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    device = done.stdout.strip()
    try:
        yield device
        eventually(lambda: is_free(device), 10)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
        image.unlink()


@contextmanager
def mounted(device: str, place: Path, options: str = "defaults") -> Iterator[Path]:
    """A disk's file system at a place that is made for it."""
    place.mkdir()
    subprocess.run(["mount", "-o", options, device, place], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@contextmanager
def with_quotas(directory: Path, kind: str) -> Iterator[Path]:
    """An empty file system that enforces project quotas."""
    made = ("-O", "project,quota", "-E", "quotatype=prjquota") if kind == "ext4" else ()
    with disk(directory, kind, *made) as device, mounted(device, directory / f"{kind}-quotas", "prjquota") as place:
        yield place


@functools.cache
def can_enforce_quotas() -> bool:
    """Whether this kernel has project quotas; many are built without."""
    with ExitStack() as undo:
        directory = undo.enter_context(tempfile.TemporaryDirectory())
        try:
            undo.enter_context(with_quotas(Path(directory), "ext4"))
        except subprocess.CalledProcessError:
            return False
        return True


def is_free(device: str) -> bool:
    """Whether nobody, in whatever mount namespace, has a block device mounted."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
