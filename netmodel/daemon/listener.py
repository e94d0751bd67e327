"""The socket the engine is reached at: bound by one process, readable by root alone."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from pathlib import Path

from netmodel.client.address import MAX_PATH, connect
from netmodel.errors import Conflict, Invalid

_BACKLOG = 512


class Listener:
    """A listening unix socket, and the lock that says it is ours.

    Args:
        path: Where; its directory is made when missing, a socket nobody listens on is replaced.

    Raises:
        Conflict: An engine listens there; names its process.
        Invalid: Something else is in the way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _make_directory(path.parent)
        # Two engines that start at once would each take the other's socket for a stale one.
        self._lock = _lock(path.with_name(path.name + ".lock"), path)
        try:
            _clear(path)
            self.socket = _bind(path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self.socket.close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)
        os.close(self._lock)


def listening_pid(path: Path) -> int:
    """The process that listens at a unix socket; 0 when nobody does."""
    try:
        connection = connect(str(path))
    except OSError:
        return 0
    with connection:
        # The kernel keeps the credentials of whoever called listen() (man 7 unix, SO_PEERCRED).
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise Invalid(f"{directory} is not a directory, so no socket can be in it", "choose another --host") from error
    except OSError as error:
        raise Invalid(f"cannot make {directory} for the socket: {error.strerror}", "choose another --host") from error


def _lock(lock: Path, path: Path) -> int:
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Invalid(f"cannot use {path} as the socket: {error.strerror}", "choose another --host") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise _taken(path, listening_pid(path)) from error
    return descriptor


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "a symbolic link" if stat.S_ISLNK(mode) else "a file"
        raise Invalid(f"{path} is {what}, not a socket", "move it out of the way or choose another --host")
    if pid := listening_pid(path):
        raise _taken(path, pid)
    path.unlink()


def _taken(path: Path, pid: int) -> Conflict:
    who = f"process {pid}" if pid else "another engine"
    return Conflict(f"{who} already listens at {path}", "stop it first, or choose another --host")


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)  # the file gets its mode as it appears: nobody else can ever connect
    try:
        if len(os.fsencode(path)) <= MAX_PATH:
            listener.bind(os.fspath(path))
        else:
            directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
            try:
                listener.bind(f"/proc/self/fd/{directory}/{path.name}")
            finally:
                os.close(directory)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Invalid(f"cannot listen at {path}: {error.strerror}", "choose another --host") from error
    finally:
        os.umask(before)
    return listener
