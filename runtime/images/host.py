"""The image "host": the machine's own root, so that every tool on it is in every container.

A container sees what is installed, never what is running: /run and /tmp are its own, and the engine's
own files are out of sight, as are passwords and private keys (veil.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from runtime.images.image import Image
from runtime.images.veil import veil
from runtime.spec import BindMount, TmpfsMount

NAME = "host"
ID = "sha256:" + hashlib.sha256(NAME.encode()).hexdigest()
_NAMES = (NAME, "host:latest", "docker.io/library/host", "docker.io/library/host:latest")
PLACES = ("/run/netmodel-veil", "/dev/shm/netmodel-veil")
_PRIVATE = (
    TmpfsMount(target="/tmp", mode=0o1777, options=("nosuid", "nodev")),
    TmpfsMount(target="/run", mode=0o755, options=("nosuid", "nodev")),
)
# Where a distribution may keep programs and data on a file system of their own.
_SYSTEM = ("/usr", "/etc", "/var", "/opt", "/srv", "/home", "/root")
# Kernel interfaces and scratch memory: not part of what is installed.
_NOT_INSTALLED = frozenset(("tmpfs", "ramfs", "overlay", "proc", "sysfs", "autofs", "nsfs", "bpf", "tracefs"))


def is_meant(ref: str) -> bool:
    """Whether a name, an id or the beginning of an id stands for this image."""
    digits = ref.removeprefix("sha256:")
    return ref in _NAMES or (len(digits) >= 6 and ID.removeprefix("sha256:").startswith(digits))


def host_image(engine_root: Path) -> Image:
    """The machine as it is now.

    Args:
        engine_root: Hidden from the containers: their own layers lie in it, and everybody else's.
    """
    hidden = os.path.realpath(engine_root)
    mountinfo = Path("/proc/self/mountinfo").read_text()
    return Image(
        id=ID,
        names=(NAME,),
        layers=(*_veil(hidden), "/"),
        created_at=datetime.fromtimestamp(os.stat("/").st_mtime, UTC),
        mounts=(*other_file_systems(mountinfo, hidden), *_PRIVATE, *_mask(hidden)),
    )


def _veil(engine_root: str) -> Sequence[str]:
    """The layer above the machine's root, in a place that is not itself below that: overlay refuses such layers.

    Where every place is, there is none, and the machine's secrets are in the image; the doctor says so.
    """
    for place in (f"{engine_root}/veil", *PLACES):
        if off_root(os.path.dirname(place)):
            return (str(veil(Path(place))),)
    return ()


def off_root(directory: str) -> bool:
    """Whether a directory is there, on another file system than the root is."""
    try:
        return os.stat(directory).st_dev != os.stat("/").st_dev
    except OSError:
        return False


def other_file_systems(mountinfo: str, hidden: str) -> Iterator[BindMount]:
    """What is mounted below the root, /usr or /home say: a layer shows only its own file system.

    Read-only, because only the root file system is a layer with a writable one above it.
    """
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        point = mount.split(" ")[4].encode().decode("unicode_escape")
        wanted = any(_within(point, top) for top in _SYSTEM) and not _within(point, hidden)
        if wanted and kind.split(" ")[0] not in _NOT_INSTALLED:
            yield BindMount(source=point, target=point, read_only=True)


def _mask(hidden: str) -> Sequence[TmpfsMount]:
    if any(_within(hidden, private.target) for private in _PRIVATE):
        return ()
    options = ("ro", "nosuid", "nodev", "noexec")
    return (TmpfsMount(target=hidden, size_bytes=4096, mode=0o555, options=options),)


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")
