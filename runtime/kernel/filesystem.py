"""The words of mount(8) for what the kernel does to any file system, whatever its own options are.

Source: util-linux libmount/src/optmap.c; Linux fs/fs_context.c, common_set_sb_flag; include/uapi/linux/mount.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runtime.kernel import mount

# Of the mount: what each word sets, and what it takes back.
ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (mount.RDONLY, 0),
    "rw": (0, mount.RDONLY),
    "nosuid": (mount.NOSUID, 0),
    "suid": (0, mount.NOSUID),
    "nodev": (mount.NODEV, 0),
    "dev": (0, mount.NODEV),
    "noexec": (mount.NOEXEC, 0),
    "exec": (0, mount.NOEXEC),
    "noatime": (mount.NOATIME, mount.STRICTATIME),
    "atime": (0, mount.NOATIME),
    "relatime": (0, mount.NOATIME | mount.STRICTATIME),
    "strictatime": (mount.STRICTATIME, mount.NOATIME),
    "nostrictatime": (0, mount.STRICTATIME),
    "nodiratime": (mount.NODIRATIME, 0),
    "diratime": (0, mount.NODIRATIME),
    "nosymfollow": (mount.NOSYMFOLLOW, 0),
    "symfollow": (0, mount.NOSYMFOLLOW),
    "defaults": (0, 0),
}
# Of the file system itself, whoever mounts it.
_SUPERBLOCK = ("ro", "rw", "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand")
FLAGS = frozenset((*ATTRIBUTES, *_SUPERBLOCK))


def attributes(flags: Iterable[str]) -> int:
    """What the mount has of these words; of two that contradict each other the last counts."""
    found = 0
    for flag in flags:
        set_, cleared = ATTRIBUTES.get(flag, (0, 0))
        found = found & ~cleared | set_
    return found


def mount_filesystem(
    kind: str, device: str, flags: Sequence[str], values: Sequence[tuple[str, str | None]] = ()
) -> int:
    """Mount what is on a device, or behind it, and return the detached mount.

    Like: mount -t KIND -o FLAGS,VALUES DEVICE

    Raises:
        KernelRefused.
    """
    options = [*((flag, None) for flag in flags if flag in _SUPERBLOCK), *values]
    return mount.new_filesystem(kind, options, attributes(flags), source=device)
