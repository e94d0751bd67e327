"""Unpacking a tar archive, of a root file system or of one layer, written by nobody we trust.

Owners, modes, times, file capabilities and user attributes are kept as numbers stand in the archive.
No member can end up outside, or be written through a link.

Device nodes are made if every container may have them anyway (null, zero, random, ...); others are left
out: the node of a disk would be this machine's disk, and a node 0:0 makes overlay hide a file.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from runtime.images.errors import BadImage, UnpackFailed, UnsafeArchive
from runtime.images.stream import CHUNK, Limits, Plain, Source
from runtime.images.tar import members
from runtime.kernel.beneath import open_beneath

_XATTR = "SCHILY.xattr."
# Others steer the kernel (trusted.overlay.*) or another system's policy (security.selinux).
_KEPT_XATTRS = ("user.", "security.capability")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_DAMAGED = (tarfile.TarError, EOFError, ValueError)
# Source: Linux Documentation/admin-guide/devices.txt; what runtime/cgroups/devices.py lets everybody use.
_HARMLESS = frozenset([(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)])
# Source: OCI image-spec layer.md, "Whiteouts".
_WHITEOUT, _META, _OPAQUE = ".wh.", ".wh..wh.", ".wh..wh..opq"


@dataclass(slots=True)
class Unpacked:
    """Args:
    size_bytes: Of the files' contents.
    left_out: Device nodes in the archive that were not made.
    implied: Directories that no member named, only others' paths; the topmost first;
        "" is the root.
    digest: Of the archive without its compression.
    """

    size_bytes: int = 0
    left_out: int = 0
    implied: list[str] = field(default_factory=list)
    digest: str = ""


class Whiteouts(Protocol):
    """What becomes of a layer's notes about what it takes away from the layers below."""

    def hide(self, parent: int, name: str, path: str) -> None:
        """An entry is gone; the layer itself has none of that name so far."""

    def make_opaque(self, directory: int, path: str) -> None:
        """Nothing of this directory is left but what this layer brings."""


def unpack(
    archive: Source, name: str, into: int, *, whiteouts: Whiteouts | None = None, limits: Limits | None = None
) -> Unpacked:
    """Unpack an archive, plain or compressed by gzip, bzip2, xz or zstd, into an empty directory.

    Args:
        archive: Read once, from where it is.
        name: For messages.
        into: A descriptor of the directory.
        whiteouts: What the names of layers that begin with ".wh." do; without it they are names like others.

    Raises:
        BadImage: It is no tar archive, or damaged, or has members that no image has.
        UnsafeArchive: A member would reach outside.
        TooLarge: It is a bomb.
        UnpackFailed: The disk is full, say. The caller removes what was unpacked by then.
    """
    limits = limits or Limits()
    try:
        with Plain(archive, name, limits) as stream:
            unpacking = _Unpacking(into, whiteouts, lambda size: limits.check(name, stream.consumed, size))
            result = unpacking.run(members(stream), limits.members)
            stream.drain()
            result.digest = stream.digest
            return result
    except _DAMAGED as error:
        raise BadImage(name, f"it is not a tar archive, or it is damaged ({error})") from error
    except OSError as error:
        hint = "make room on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise UnpackFailed(name, os.strerror(error.errno or errno.EIO).lower(), hint) from error


class _Unpacking:
    """One archive on its way into one directory."""

    def __init__(self, root: int, whiteouts: Whiteouts | None, check_size: Callable[[int], None]) -> None:
        self._root = root
        self._whiteouts = whiteouts
        self._check_size = check_size
        self._result = Unpacked()
        self._times: list[tuple[str, float]] = []
        self._implied: dict[str, None] = {"": None}
        # Members of one directory mostly follow each other.
        self._last_path, self._last = "", -1

    def run(self, found: Iterable[tuple[tarfile.TarInfo, Source]], most: int) -> Unpacked:
        try:
            for count, (member, content) in enumerate(found):
                if count == most:
                    raise BadImage(member.name, f"the archive has more than {most} members")
                self._member(member, content)
        finally:
            self._forget_last()
        # Last, because placing a file touches the directory that it is placed in.
        for path, mtime in reversed(self._times):
            with suppress(OSError):  # replaced by a later member
                directory = open_beneath(self._root, path, _DIRECTORY)
                os.utime(directory, (mtime, mtime))
                os.close(directory)
        self._result.implied = list(self._implied)
        return self._result

    def _member(self, member: tarfile.TarInfo, content: Source) -> None:
        path = _path_of(member.name, member.name)
        parent_path, _, name = path.rpartition("/")
        if not path:
            self._finish_directory(self._root, member)
            self._implied.pop("", None)
        elif self._whiteouts is not None and name.startswith(_WHITEOUT):
            self._whiteout(self._whiteouts, member, parent_path, name)
        elif member.isdev() and not member.isfifo() and not _harmless(member):
            self._result.left_out += 1
        else:
            self._place(member, content, self._parent(parent_path, member.name), name, path)

    def _whiteout(self, whiteouts: Whiteouts, member: tarfile.TarInfo, parent_path: str, name: str) -> None:
        if name.startswith(_META):  # aufs left others of these, which say nothing to anybody else
            if name == _OPAQUE:
                whiteouts.make_opaque(self._parent(parent_path, member.name), parent_path)
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise UnsafeArchive(member.name, "takes away what is no entry of a directory")
        parent = self._parent(parent_path, member.name)
        path = f"{parent_path}/{hidden}" if parent_path else hidden
        try:
            directory = open_beneath(parent, hidden, _DIRECTORY)
        except OSError as error:
            if error.errno == errno.ENOENT:
                whiteouts.hide(parent, hidden, path)
            return  # the layer has a file of that name, which hides the one below anyway
        whiteouts.make_opaque(directory, path)
        os.close(directory)

    def _place(self, member: tarfile.TarInfo, content: Source, parent: int, name: str, path: str) -> None:
        if member.isdir():
            directory = self._directory(parent, name, path)
            try:
                self._finish_directory(directory, member)
            finally:
                os.close(directory)
            self._implied.pop(path, None)
            self._times.append((path, member.mtime))
            return
        if member.islnk():
            self._link(member, parent, name)
            return
        if member.isfile():
            self._file(member, content, parent, name)
            return
        self._clear(parent, name, member.name)
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.isfifo():
            os.mkfifo(name, member.mode & 0o7777, dir_fd=parent)
        elif member.ischr():
            os.mknod(name, member.mode & 0o777 | 0o020000, os.makedev(member.devmajor, member.devminor), dir_fd=parent)
            os.chmod(name, member.mode & 0o777, dir_fd=parent)  # not subject to our umask
        else:
            raise BadImage(member.name, f"the archive has a member of unknown type {member.type!r}")
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, (member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)

    def _file(self, member: tarfile.TarInfo, content: Source, parent: int, name: str) -> None:
        self._result.size_bytes += member.size
        self._check_size(self._result.size_bytes)  # a sparse member's zeros are not in the archive
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        except FileExistsError:  # rarely: looking first would cost every file a call
            self._clear(parent, name, member.name)
            descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            _write(content, descriptor, member.size)
            # chown takes setuid bits and capabilities away, so it comes first.
            os.fchown(descriptor, member.uid, member.gid)
            os.fchmod(descriptor, member.mode & 0o7777)
            if member.pax_headers:
                _set_xattrs(descriptor, member)
            os.utime(descriptor, (member.mtime, member.mtime))
        finally:
            os.close(descriptor)

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        """A second name for a file unpacked before; the first must be inside, and reached through no link."""
        target_path = _path_of(member.linkname, member.name)
        if target_path == _path_of(member.name, member.name):
            raise UnsafeArchive(member.name, "is a hard link to itself")
        target_parent, _, target = target_path.rpartition("/")
        try:
            source = open_beneath(self._root, target_parent or ".", _DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise UnsafeArchive(member.name, "lies behind a link, or below a file") from None
            raise UnsafeArchive(member.name, f"needs {target_parent!r}, which is not in it") from None
        try:
            self._clear(parent, name, member.name)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            raise UnsafeArchive(member.name, f"is a hard link to {member.linkname!r}, which is no file in it") from None
        finally:
            os.close(source)

    def _parent(self, path: str, member: str) -> int:
        """A descriptor of a directory of the image, ours to close; missing ones are made, as tar does."""
        if not path:
            return self._root
        if path == self._last_path:
            return self._last
        try:
            found = open_beneath(self._root, path, _DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise UnsafeArchive(member, "lies behind a link, or below a file") from None
            if error.errno != errno.ENOENT:
                raise
            found = self._make(path, member)
        self._forget_last()
        self._last_path, self._last = path, found
        return found

    def _make(self, path: str, member: str) -> int:
        """Make the missing directories of a path, from the top."""
        current, above = os.dup(self._root), ""
        for name in path.split("/"):
            above = f"{above}/{name}" if above else name
            try:
                below = open_beneath(current, name, _DIRECTORY)
            except OSError as error:
                if error.errno != errno.ENOENT and not _is_hidden(current, name):
                    os.close(current)
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise UnsafeArchive(member, "lies behind a link, or below a file") from None
                    raise
                try:
                    below = self._directory(current, name, above)
                except BaseException:
                    os.close(current)
                    raise
                self._implied[above] = None
            os.close(current)
            current = below
        return current

    def _directory(self, parent: int, name: str, path: str) -> int:
        """Make a directory, or take the one that is there; anything else in its place goes."""
        was_hidden = False
        for _ in range(2):
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=parent)
            try:
                directory = open_beneath(parent, name, _DIRECTORY)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                was_hidden = _is_hidden(parent, name)
                os.unlink(name, dir_fd=parent)
                continue
            if was_hidden and self._whiteouts is not None:
                self._whiteouts.make_opaque(directory, path)
            return directory
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
            if parent != self._last:
                self._forget_last()  # it may be the one that is gone

    def _forget_last(self) -> None:
        if self._last >= 0:
            os.close(self._last)
        self._last_path, self._last = "", -1

    def _finish_directory(self, directory: int, member: tarfile.TarInfo) -> None:
        os.fchown(directory, member.uid, member.gid)
        os.fchmod(directory, member.mode & 0o7777)
        if member.pax_headers:
            _set_xattrs(directory, member)


def _write(content: Source, descriptor: int, size: int) -> None:
    left = size
    while left:
        piece = content.read(min(left, CHUNK))
        if not piece:
            raise EOFError("it ends within a file")
        left -= len(piece)
        view = memoryview(piece)
        while view:  # a write may be short, on a full disk for one
            view = view[os.write(descriptor, view) :]


def _is_hidden(parent: int, name: str) -> bool:
    """Whether overlay's sign stands there that the layers below have nothing of that name."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return status.st_mode & 0o170000 == 0o020000 and status.st_rdev == 0


def _harmless(member: tarfile.TarInfo) -> bool:
    return member.ischr() and (member.devmajor, member.devminor) in _HARMLESS


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
