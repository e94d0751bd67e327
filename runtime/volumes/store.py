"""Named directories that outlive containers: the local volume driver.

NAME/_data         what containers see
NAME/options.json  how it is made, unless it is a plain directory
NAME/_copy         an image's content on its way into _data
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import KernelRefused
from runtime.images.image import Image
from runtime.kernel import mount, quota
from runtime.kernel.filesystem import mount_filesystem
from runtime.kernel.path import opened
from runtime.spec import BindMount
from runtime.trash import Trash, empty
from runtime.volumes import tree
from runtime.volumes.content import directory_of
from runtime.volumes.errors import InvalidVolumeName, InvalidVolumeOption, VolumeExists, VolumeNotFound, VolumeUnusable
from runtime.volumes.options import Options
from runtime.volumes.reasons import why_not_mounted
from runtime.volumes.remote import NoAddress, with_server

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


class Volumes:
    """Args:
    directory: Where they are kept; made when first needed, and closed to everybody but root.
    """

    name = "local"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._trash = Trash(directory / ".trash")
        self._lock = threading.Lock()
        # Held while one is filled or mounted, which takes as long as a server takes to answer.
        self._lock_of: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._users: defaultdict[str, set[str]] = defaultdict(set)  # of those that are mounted for their users
        self._trash.sweep()
        for name in self._entries():
            if name.startswith(".") and name != ".trash":
                self._discard(directory / name)  # a crash's; see create()

    def create(self, name: str = "", options: Mapping[str, str] | None = None) -> str:
        """Make a volume and return its name; one that is there with the same options is taken as it is.

        Args:
            name: "" makes one up, 64 hexadecimal digits.

        Raises:
            InvalidVolumeName, InvalidVolumeOption, VolumeExists.
        """
        name = name or secrets.token_hex(32)
        wanted = dict(options or {})
        parsed = Options.parse(wanted)
        if parsed.kind == "filesystem" and not mount.is_known(parsed.type):
            raise InvalidVolumeOption(
                f"type={parsed.type}", "this kernel has no such file system", f"modprobe {parsed.type}"
            )
        volume = self._volume(name)
        with self._lock:
            if volume.exists():
                if self._options(name) != wanted:
                    raise VolumeExists(name)
                return name
            # Whole or not there: a crash in between leaves only a directory that nobody asks for.
            fresh = self._directory / f".{secrets.token_hex(8)}"
            os.makedirs(fresh, 0o700)
            try:
                os.chmod(self._directory, 0o700)
                if parsed.size_bytes:
                    _limit(fresh, wanted["size"], parsed.size_bytes)
                os.mkdir(fresh / "_data", 0o755)
                if wanted:
                    (fresh / "options.json").write_text(json.dumps(wanted))
                os.rename(fresh, volume)
            except BaseException:
                self._discard(fresh)
                raise
        return name

    def path(self, name: str) -> Path:
        """The directory whose content the volume is.

        Raises:
            VolumeNotFound.
        """
        options = self._parsed(name)
        return Path(options.device) if options.kind == "bind" else self._volume(name) / "_data"

    def mount(self, name: str, user: str, target: str, *, read_only: bool = False, subpath: str = "") -> BindMount:
        """How a container gets it, ready to be mounted.

        Args:
            user: Who has it from now on, until unmount().
            subpath: What of it is meant; that must be there when the container starts.

        Raises:
            VolumeNotFound.
            VolumeUnusable: Its device is not there, or the kernel does not mount it.
        """
        options = self._parsed(name)
        source = self.path(name)
        with self._locked(name):
            self._bring(name, options)
            if not source.is_dir():
                raise VolumeUnusable(name, f"{source} is no directory", f"mkdir -p {source}")
            if options.kind == "filesystem":
                self._users[name].add(user)
        return BindMount(source=str(source), target=target, read_only=read_only or options.read_only, subpath=subpath)

    def unmount(self, name: str, user: str) -> None:
        """A user needs it no more; a file system of the user's is unmounted after the last one."""
        if name not in self._users:
            return
        with self._locked(name):
            self._users[name].discard(user)
            self._let_go(name)

    def adopt(self, name: str, user: str) -> None:
        """A user has it since before this process was there."""
        if self._parsed(name).kind == "filesystem":
            self._users[name].add(user)

    def settle(self) -> None:
        """Unmount what nobody has, once all that have one are adopted."""
        for name in self.list():
            if self._parsed(name).kind == "filesystem":
                with self._locked(name):
                    self._let_go(name)

    def _let_go(self, name: str) -> None:
        """Unmount a file system that has no users. The volume's lock is held."""
        if not self._users[name]:
            del self._users[name]
            _unmount(self._volume(name) / "_data")

    def populate(self, name: str, image: Image, target: str) -> bool:
        """Give an empty volume what the image has at the place where it will be mounted.

        Returns:
            Whether anything was copied. A crash at any moment leaves the volume empty, or leaves the
            rest to the next call.

        Raises:
            VolumeNotFound.
            VolumeUnusable: The disk is full, say; then the volume is empty as before.
        """
        options = self._parsed(name)
        data = self.path(name)
        with self._locked(name):
            self._bring(name, options)
            try:
                if options.kind == "plain":
                    self._finish_copy(name)
                if not data.is_dir() or os.listdir(data):
                    return False
                with directory_of(image, target) as source:
                    if source is None:
                        return False
                    if options.kind == "plain":
                        return self._copy_aside(name, source)
                    return _copy_directly(data, source)
            except OSError as error:
                why = os.strerror(error.errno or errno.EIO).lower()
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                raise VolumeUnusable(
                    name,
                    f"the image's content at {target} could not be copied: {why}",
                    "make room on the disk" if full else "",
                ) from error
            finally:
                if options.kind == "filesystem":
                    self._let_go(name)

    def remove(self, name: str) -> None:
        """Delete a volume and its content, a bind's directory excepted; one that is gone is no error.

        The caller sees to it that no container uses it.
        """
        volume = self._volume(name)
        with contextlib.suppress(FileNotFoundError, VolumeNotFound):
            if self._parsed(name).kind in ("tmpfs", "filesystem"):
                _unmount(volume / "_data")
        self._discard(volume)
        with self._lock:
            self._lock_of.pop(name, None)
            self._users.pop(name, None)

    def list(self) -> tuple[str, ...]:
        """The names of all."""
        return tuple(sorted(name for name in self._entries() if not name.startswith(".")))

    def exists(self, name: str) -> bool:
        return self._volume(name).exists()

    def usage(self, name: str) -> int:
        """Bytes that its content takes of ours; as quick as there are few files."""
        if self._parsed(name).kind in ("bind", "filesystem"):
            return 0  # somebody else's, and stays when the volume goes
        with opened(self.path(name)) as descriptor:
            return tree.usage(descriptor)

    def drain(self) -> None:
        """Wait until removed volumes have left the disk; see Trash.drain()."""
        self._trash.drain()

    def _discard(self, volume: Path) -> None:
        with contextlib.suppress(FileNotFoundError), opened(volume) as directory:
            quota.lift(directory)
        self._trash.discard(volume)

    def _locked(self, name: str) -> threading.Lock:
        with self._lock:
            return self._lock_of[name]

    def _entries(self) -> tuple[str, ...]:
        try:
            return tuple(os.listdir(self._directory))
        except FileNotFoundError:
            return ()

    def _volume(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidVolumeName(name)
        return self._directory / name

    def _options(self, name: str) -> dict[str, str]:
        volume = self._volume(name)
        try:
            return dict(json.loads((volume / "options.json").read_text()))
        except FileNotFoundError:
            if not volume.exists():
                raise VolumeNotFound(name) from None
            return {}

    def _parsed(self, name: str) -> Options:
        return Options.parse(self._options(name))

    def _bring(self, name: str, options: Options) -> None:
        """Mount what it is made of, unless that is done, in the engine's own mount namespace: all users share it.

        Memory stays until the volume is removed, a file system until unmount() by the last user. The
        volume's lock is held.
        """
        data = self._volume(name) / "_data"
        if options.kind not in ("tmpfs", "filesystem") or os.path.ismount(data):
            return
        try:
            options = with_server(options)
            made = mount_filesystem(options.type, options.device, options.flags, options.values)
            try:
                with opened(data) as target:
                    mount.attach(made, target)
            finally:
                os.close(made)
        except NoAddress as error:
            raise VolumeUnusable(name, str(error), "give an address: o=addr=...") from error
        except KernelRefused as refused:
            raise why_not_mounted(name, options, refused) from refused

    def _copy_aside(self, name: str, source: int) -> bool:
        volume = self._volume(name)
        part = volume / "_copy.part"
        os.mkdir(part, 0o700)
        try:
            with opened(part) as target:
                tree.Copy().run(source, target)
        except BaseException:
            self._trash.discard(part)
            raise
        os.rename(part, volume / "_copy")
        self._finish_copy(name)
        return True

    def _finish_copy(self, name: str) -> None:
        """Move a whole copy into place, and forget one that is not whole."""
        volume = self._volume(name)
        self._trash.discard(volume / "_copy.part")
        whole = volume / "_copy"
        if not whole.is_dir():
            return
        with opened(whole) as copy, opened(volume / "_data") as data:
            for entry in os.listdir(copy):
                os.rename(entry, entry, src_dir_fd=copy, dst_dir_fd=data)
            tree.copy_attributes(copy, data)
        os.rmdir(whole)


def _copy_directly(data: Path, source: int) -> bool:
    """Into what lies on another file system, where nothing can be renamed into place."""
    try:
        with opened(data) as descriptor:
            tree.Copy().run(source, descriptor)
    except BaseException:
        empty(data)  # it was before
        raise
    return True


def _limit(fresh: Path, text: str, size_bytes: int) -> None:
    # Of the whole volume: what comes into it from its own _copy must be of the same project.
    try:
        with opened(fresh) as directory:
            quota.limit(directory, size_bytes)
    except quota.NoQuotas as error:
        raise InvalidVolumeOption(
            f"size={text}", str(error), f"{error.hint}; a volume in memory has a size, too: type=tmpfs, o=size={text}"
        ) from error


def _unmount(path: Path) -> None:
    if os.path.ismount(path):
        # Detached at once; containers that still have it keep it until they end.
        mount.detach_below(str(path))
