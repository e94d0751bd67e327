"""Writing a directory tree as a tar archive: a container's file system, or what one layer changes.

Yields pieces, so that whoever sends it needs neither a file nor memory for it.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.images.errors import UnpackFailed
from runtime.images.graphdriver.overlay import OPAQUE
from runtime.images.stream import CHUNK
from runtime.kernel.beneath import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_KEPT_XATTRS = ("user.", "security.capability")
# Source: Linux Documentation/filesystems/overlayfs.rst, "Renaming directories" and "Metadata only copy up".
_LEFT_BELOW = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
END = bytes(2 * tarfile.BLOCKSIZE)


def pack(root: int, *, as_layer: bool = False, shift: int = 0) -> Iterator[bytes]:
    """Everything below a directory, entering neither links nor mounts; sockets are left out.

    Args:
        root: A descriptor of the directory, open until the last piece is taken.
        as_layer: Translate overlay's signs of what is taken away to those that archives have for it.
        shift: Taken from each owner and group of at least that.

    Raises:
        UnpackFailed: Overlay has left the content of something below, as only kernels do that are told to.
    """
    readable = os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=root)  # that of a mount only stands for a place
    try:
        yield from _Packing(as_layer, shift).directory(readable, ".")
    finally:
        os.close(readable)
    yield END


def header(name: str, size: int, mode: int = 0o644, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that is nobody's: owned by root, from 1970."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = size, mode, kind
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows a member's content of this size, up to the next block."""
    return bytes(-size % tarfile.BLOCKSIZE)


@dataclass(slots=True)
class _Packing:
    as_layer: bool
    shift: int
    seen: dict[tuple[int, int], str] = field(default_factory=dict)  # of files with several names: the first one

    def directory(self, directory: int, path: str) -> Iterator[bytes]:
        yield self._header(path + "/", os.fstat(directory), xattrs=self._xattrs(directory, path))
        if self.as_layer and _is_opaque(directory):
            yield header(f"{path}/.wh..wh..opq", 0)
        for name in sorted(os.listdir(directory)):
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue  # the container runs on
            yield from self._entry(directory, name, f"{path}/{name}", status)

    def _entry(self, directory: int, name: str, path: str, status: os.stat_result) -> Iterator[bytes]:
        if stat.S_ISDIR(status.st_mode):
            try:
                inner = open_beneath(directory, name, _DIRECTORY)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                if error.errno == errno.EXDEV:  # what is mounted there is not the container's
                    yield self._header(path + "/", status)
                return
            try:
                yield from self.directory(inner, path)
            finally:
                os.close(inner)
        elif stat.S_ISREG(status.st_mode):
            yield from self._file(directory, name, path, status)
        elif stat.S_ISLNK(status.st_mode):
            yield self._header(path, status, link=os.readlink(name, dir_fd=directory))
        elif stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            if self.as_layer:
                above, _, last = path.rpartition("/")
                yield header(f"{above}/.wh.{last}", 0)
        elif not stat.S_ISSOCK(status.st_mode):
            yield self._header(path, status)

    def _file(self, directory: int, name: str, path: str, status: os.stat_result) -> Iterator[bytes]:
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and identity in self.seen:
            yield self._header(path, status, first=self.seen[identity])
            return
        try:
            descriptor = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return  # gone meanwhile, or something else now
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return
            if status.st_nlink > 1:
                self.seen[identity] = path
            yield self._header(path, status, xattrs=self._xattrs(descriptor, path))
            left = status.st_size
            while left:
                piece = os.read(descriptor, min(left, CHUNK))
                if not piece:  # cut short meanwhile; the header has promised more
                    piece = bytes(min(left, CHUNK))
                left -= len(piece)
                yield piece
            yield padding(status.st_size)
        finally:
            os.close(descriptor)

    def _header(
        self,
        path: str,
        status: os.stat_result,
        *,
        link: str = "",
        first: str = "",
        xattrs: dict[str, str] | None = None,
    ) -> bytes:
        info = tarfile.TarInfo(path.removeprefix("./") or "./")
        info.uid, info.gid = self._owner(status.st_uid), self._owner(status.st_gid)
        return _filled(info, status, link, first, xattrs)

    def _owner(self, number: int) -> int:
        return number - self.shift if number >= self.shift else number

    def _xattrs(self, descriptor: int, path: str) -> dict[str, str]:
        names = _names(descriptor)
        if self.as_layer and any(name in names for name in _LEFT_BELOW):
            raise UnpackFailed(
                path,
                "overlay keeps only a reference to what is below",
                "set redirect_dir and metacopy of /sys/module/overlay/parameters to N before containers are made",
            )
        return {
            name: os.getxattr(descriptor, name).decode("utf-8", "surrogateescape")
            for name in names
            if name.startswith(_KEPT_XATTRS)
        }


def _filled(
    info: tarfile.TarInfo, status: os.stat_result, link: str, first: str, xattrs: dict[str, str] | None
) -> bytes:
    info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if first:
        info.type, info.linkname = tarfile.LNKTYPE, first.removeprefix("./")
    elif stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, link
    elif stat.S_ISFIFO(status.st_mode):
        info.type = tarfile.FIFOTYPE
    elif stat.S_ISREG(status.st_mode):
        info.size = status.st_size
    else:
        info.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
        info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if xattrs:
        info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in xattrs.items()}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _names(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError:  # this file system has none
        return []


def _is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, OPAQUE) == b"y"
    except OSError:
        return False
