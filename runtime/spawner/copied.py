"""A layer again, in memory, with the owners that a container's ids stand for.

For a layer on a file system that cannot map ids, as tmpfs could not before Linux 6.3. The one that covers
the machine's secrets is such, and the directories that those are in belong to it: nobody's, not even the
container's root could write to /etc. It has few files; a layer of many is left as it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from runtime.kernel import mount

_MOST_FILES = 256
_MOST_BYTES = 1 << 20
Range = tuple[int, int, int]


class TooLarge(Exception):
    """A copy for each container would cost more than it is worth."""


def copy(layer: str, uids: Sequence[Range], gids: Sequence[Range]) -> int:
    """Make the copy, as a detached mount.

    Args:
        uids: Of the container, as (inside, outside, count).
        gids: Likewise.

    Raises:
        TooLarge: Nothing is left of the attempt.
    """
    made = mount.new_filesystem("tmpfs")
    try:
        _Copier(uids, gids).copy(layer, f"/proc/self/fd/{made}", os.stat(layer))
    except BaseException:
        os.close(made)
        raise
    return made


class _Copier:
    def __init__(self, uids: Sequence[Range], gids: Sequence[Range]) -> None:
        self._uids, self._gids = uids, gids
        self._files = self._bytes = 0

    def copy(self, source: str, target: str, status: os.stat_result) -> None:
        """Copy one file, or a directory that is there already, with all that is in it."""
        self._count(status)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(source) as entries:
                for entry in entries:
                    below = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        os.mkdir(f"{target}/{entry.name}")
                    self.copy(entry.path, f"{target}/{entry.name}", below)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISREG(status.st_mode):
            with open(source, "rb") as old, open(target, "xb") as new:
                new.write(old.read())
        else:  # what overlay takes for "there is no such file" is a device
            os.mknod(target, status.st_mode, status.st_rdev)
        os.chown(
            target, _outside(status.st_uid, self._uids), _outside(status.st_gid, self._gids), follow_symlinks=False
        )
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(target, stat.S_IMODE(status.st_mode))
            for name in os.listxattr(source):
                os.setxattr(target, name, os.getxattr(source, name))

    def _count(self, status: os.stat_result) -> None:
        self._files += 1
        self._bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
        if self._files > _MOST_FILES or self._bytes > _MOST_BYTES:
            raise TooLarge


def _outside(id_: int, ranges: Sequence[Range]) -> int:
    """The host's id; one that the container has none for stays, and is nobody's there."""
    for inside, outside, count in ranges:
        if inside <= id_ < inside + count:
            return outside + id_ - inside
    return id_
