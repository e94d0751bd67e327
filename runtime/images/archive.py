"""Unpacking a tar archive of a root file system, written by nobody we trust.

Owners, modes, times, file capabilities and user attributes are kept as numbers stand in the archive.
Device nodes are left out: a container's /dev is made for it, and a node 0:0 in a layer would make
overlay hide a file. No member can end up outside, or be written through a link.
"""

from __future__ import annotations

import errno
import lzma
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from runtime.images.errors import BadImage, UnpackFailed, UnsafeArchive
from runtime.kernel.beneath import open_beneath

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_XATTR = "SCHILY.xattr."
# Others steer the kernel (trusted.overlay.*) or another system's policy (security.selinux).
_KEPT_XATTRS = ("user.", "security.capability")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_DAMAGED = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, ValueError)


@dataclass(slots=True)
class Unpacked:
    """Args:
    size_bytes: Of the files' contents.
    left_out: Device nodes in the archive.
    """

    size_bytes: int = 0
    left_out: int = 0


def unpack(archive: BinaryIO, name: str, into: int) -> Unpacked:
    """Unpack an archive, plain or compressed by gzip, bzip2, xz or zstd, into an empty directory.

    Args:
        archive: At its beginning; need be readable in one pass only.
        name: For messages.
        into: A descriptor of the directory.

    Raises:
        BadImage: It is no tar archive, or damaged, or an image in a format other than a plain root.
        UnsafeArchive: A member would reach outside.
        UnpackFailed: The disk is full, say. The caller removes what was unpacked by then.
    """
    try:
        with _plain(archive, name) as stream, tarfile.open(fileobj=stream, mode="r|*", bufsize=1 << 20) as tar:
            return _Unpacking(into).run(tar)
    except _DAMAGED as error:
        raise BadImage(name, f"it is not a tar archive, or it is damaged ({error})") from error
    except OSError as error:
        hint = "make room on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise UnpackFailed(name, os.strerror(error.errno or errno.EIO).lower(), hint) from error


@contextmanager
def _plain(archive: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The archive without zstd, which Python's library does not know; tarfile sees to the others."""
    magic = archive.read(4)
    archive.seek(0)
    if magic != _ZSTD_MAGIC:
        yield archive
        return
    program = shutil.which("zstd")
    if program is None:
        raise BadImage(name, "it is compressed by zstd, which this machine cannot read", "apt install zstd")
    os.lseek(archive.fileno(), 0, os.SEEK_SET)  # seek() above may have moved within the buffer alone
    pipe = subprocess.PIPE
    with subprocess.Popen([program, "-dcq"], stdin=archive, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout  # type: ignore[misc]  # only read() is wanted of it
        finally:
            process.stdout.close()
            process.wait()


class _Unpacking:
    """One archive on its way into one directory."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._result = Unpacked()
        self._times: list[tuple[str, float]] = []

    def run(self, tar: tarfile.TarFile) -> Unpacked:
        for member in tar:
            path = _path_of(member.name, member.name)
            if not path:
                self._finish_directory(self._root, member)
            elif member.isdev() and not member.isfifo():
                self._result.left_out += 1
            else:
                parent_path, _, name = path.rpartition("/")
                parent = self._parent(parent_path, member.name)
                try:
                    self._place(tar, member, parent, name, path)
                finally:
                    if parent != self._root:
                        os.close(parent)
        # Last, because placing a file touches the directory that it is placed in.
        for path, mtime in reversed(self._times):
            with suppress(OSError):  # replaced by a later member
                directory = open_beneath(self._root, path, _DIRECTORY)
                os.utime(directory, (mtime, mtime))
                os.close(directory)
        return self._result

    def _place(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str, path: str) -> None:
        if member.isdir():
            directory = self._directory(parent, name)
            try:
                self._finish_directory(directory, member)
            finally:
                os.close(directory)
            self._times.append((path, member.mtime))
            return
        self._clear(parent, name, member.name)
        if member.islnk():
            self._link(member, parent, name)
        elif member.isfile():
            self._file(tar, member, parent, name)
        else:
            if member.issym():
                os.symlink(member.linkname, name, dir_fd=parent)
            elif member.isfifo():
                os.mkfifo(name, member.mode & 0o7777, dir_fd=parent)
            else:
                raise BadImage(member.name, f"the archive has a member of unknown type {member.type!r}")
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, (member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)

    def _file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        content = tar.extractfile(member)
        assert content is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
            # Buffered: a raw write may be short, on a full disk for one, and nobody would notice.
            shutil.copyfileobj(content, file, 1 << 20)
            file.flush()
            self._result.size_bytes += member.size
            # chown takes setuid bits and capabilities away, so it comes first.
            os.fchown(file.fileno(), member.uid, member.gid)
            os.fchmod(file.fileno(), member.mode & 0o7777)
            _set_xattrs(file.fileno(), member)
            os.utime(file.fileno(), (member.mtime, member.mtime))

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        """A second name for a file unpacked before; the first must be inside, and reached through no link."""
        target_path = _path_of(member.linkname, member.name)
        target_parent, _, target = target_path.rpartition("/")
        source = self._parent(target_parent, member.name, make=False)
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            raise UnsafeArchive(member.name, f"is a hard link to {member.linkname!r}, which is no file in it") from None
        finally:
            if source != self._root:
                os.close(source)

    def _parent(self, path: str, member: str, make: bool = True) -> int:
        """Open a directory of the image; missing ones are made, as tar does."""
        if not path:
            return self._root
        try:
            return open_beneath(self._root, path, _DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise UnsafeArchive(member, "lies behind a link, or below a file") from None
            if error.errno != errno.ENOENT or not make:
                raise UnsafeArchive(member, f"needs {path!r}, which is not in it") from None
        above_path, _, name = path.rpartition("/")
        above = self._parent(above_path, member)
        try:
            return self._directory(above, name)
        finally:
            if above != self._root:
                os.close(above)

    def _directory(self, parent: int, name: str) -> int:
        """Make a directory, or take the one that is there; anything else in its place goes."""
        for _ in range(2):
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=parent)
            try:
                return open_beneath(parent, name, _DIRECTORY)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                os.unlink(name, dir_fd=parent)
        raise AssertionError("a link came back while we were alone with it")

    def _clear(self, parent: int, name: str, member: str) -> None:
        """Later members replace earlier ones of the same name, as in tar; only a directory stays."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            try:
                os.rmdir(name, dir_fd=parent)
            except OSError:
                raise UnsafeArchive(member, "would replace a directory that has files in it") from None

    def _finish_directory(self, directory: int, member: tarfile.TarInfo) -> None:
        os.fchown(directory, member.uid, member.gid)
        os.fchmod(directory, member.mode & 0o7777)
        _set_xattrs(directory, member)


def _path_of(name: str, member: str) -> str:
    """A member's path without "." and the leading slash; "" is the root itself."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeArchive(member, f"climbs out of the image: {name!r}")
    return "/".join(parts)


def _set_xattrs(descriptor: int, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name == key or not name.startswith(_KEPT_XATTRS):
            continue
        try:
            # tarfile decoded the bytes as UTF-8 and kept the others as surrogates.
            os.setxattr(descriptor, name, value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            # Notes for users may be lost where the file system has no room for them; powers may not.
            if error.errno != errno.EOPNOTSUPP or not name.startswith("user."):
                raise
