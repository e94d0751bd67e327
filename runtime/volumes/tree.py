"""Copying and measuring directory trees by descriptors, entering neither links nor mounts."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from runtime.errors import RuntimeFault
from runtime.kernel.beneath import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_KEPT_XATTRS = ("user.", "security.capability", "system.posix_acl_")
_DEEPEST = 200
_CHUNK = 1 << 24


class TooDeep(RuntimeFault):
    """Directories nested beyond reason."""

    kind = "invalid"

    def __init__(self) -> None:
        super().__init__(f"more than {_DEEPEST} directories lie one in another")


class Copy:
    """One tree copied into an empty directory: owners, modes, times, attributes, links, hard links, pipes.

    Device nodes and sockets stay behind: they mean nothing in another place.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, str]] = {}  # of files with several names: where the first went
        self._kept: list[int] = []

    def run(self, source: int, target: int) -> None:
        """Args are descriptors of directories."""
        try:
            self._directory(source, target, _DEEPEST)
        finally:
            for descriptor in self._kept:
                os.close(descriptor)

    def _directory(self, source: int, target: int, depth: int) -> None:
        if depth == 0:
            raise TooDeep
        for name in os.listdir(source):
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._below(source, target, name, depth)
            elif stat.S_ISREG(status.st_mode):
                self._file(source, target, name, status)
            elif stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
                os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
            elif stat.S_ISFIFO(status.st_mode):
                os.mkfifo(name, dir_fd=target)
                os.chown(name, status.st_uid, status.st_gid, dir_fd=target)
                os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        copy_attributes(source, target)

    def _below(self, source: int, target: int, name: str, depth: int) -> None:
        os.mkdir(name, 0o700, dir_fd=target)
        from_fd = to_fd = -1
        try:
            to_fd = open_beneath(target, name, _DIRECTORY)
            from_fd = open_beneath(source, name, _DIRECTORY)
            self._directory(from_fd, to_fd, depth - 1)
        except OSError as error:
            if error.errno != errno.EXDEV:  # a mount point stays an empty directory
                raise
        finally:
            for descriptor in (from_fd, to_fd):
                if descriptor >= 0:
                    os.close(descriptor)

    def _file(self, source: int, target: int, name: str, status: os.stat_result) -> None:
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            first_directory, first = self._seen[identity]
            os.link(first, name, src_dir_fd=first_directory, dst_dir_fd=target, follow_symlinks=False)
            return
        from_fd = open_beneath(source, name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            to_fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
            try:
                _copy_content(from_fd, to_fd)
                copy_attributes(from_fd, to_fd)
            finally:
                os.close(to_fd)
        finally:
            os.close(from_fd)
        if status.st_nlink > 1:
            self._kept.append(os.dup(target))
            self._seen[identity] = (self._kept[-1], name)


def copy_attributes(source: int, target: int) -> None:
    """Owner, mode, extended attributes and times, in the order in which none undoes another."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in _xattrs(source):
        if name.startswith(_KEPT_XATTRS):
            with suppress(OSError):  # the target's file system may know fewer of them
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def usage(directory: int) -> int:
    """Bytes that a tree takes on its disk; a file with several names counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [os.dup(directory)]
    while pending:
        current = pending.pop()
        try:
            for name in os.listdir(current):
                with suppress(FileNotFoundError):  # others work here meanwhile
                    status = os.stat(name, dir_fd=current, follow_symlinks=False)
                    if (identity := (status.st_dev, status.st_ino)) not in seen:
                        seen.add(identity)
                        total += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        with suppress(OSError):
                            pending.append(open_beneath(current, name, _DIRECTORY))
        finally:
            os.close(current)
    return total


def _copy_content(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, _CHUNK):
            pass
    except OSError as error:
        # EXDEV: file systems of different kinds before Linux 5.19; EINVAL, EOPNOTSUPP: one that cannot.
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        while os.sendfile(target, source, None, _CHUNK):
            pass


def _xattrs(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError:
        return []
