"""Starting an engine in the background and waiting until it answers."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from netmodel.client.address import connect
from netmodel.client.errors import EngineUnavailable


def start_engine(root: str, host: str) -> bool:
    """Make sure that an engine answers at host; False when one did already.

    Raises:
        EngineUnavailable: It did not come up; carries its own words.
    """
    with _only_one_starter(root):
        if _answers(host):
            return False
        ready, engine = os.pipe()
        try:
            os.set_inheritable(engine, True)
            _spawn(root, host, engine)
        finally:
            os.close(engine)
        with os.fdopen(ready, encoding="utf-8", errors="replace") as pipe:
            said = pipe.read()
    if said != "ready\n":
        message, _, hint = said.removeprefix("error: ").strip().partition("\nhint: ")
        log = os.path.join(root, "engine.log")
        raise EngineUnavailable(message or "the engine died while it started", hint or f"its log is {log}")
    return True


@contextmanager
def _only_one_starter(root: str) -> Iterator[None]:
    try:
        os.makedirs(root, mode=0o711, exist_ok=True)
        lock = os.open(os.path.join(root, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS:
            raise EngineUnavailable(
                f"the state root {root} is on a read-only file system",
                "dmesg tells why it is; repair it, and make it writable: mount -o remount,rw",
            ) from error
        is_file = isinstance(error, FileExistsError | NotADirectoryError)
        why = "it is no directory" if is_file else error.strerror
        raise EngineUnavailable(f"cannot use {root} as the state root: {why}", "choose another --root") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _answers(host: str) -> bool:
    try:
        connect(host).close()
    except OSError:
        return False
    return True


def _spawn(root: str, host: str, ready: int) -> None:
    log = os.path.join(root, "engine.log")
    # -P: the directory a user happens to stand in must not lend the engine its modules.
    argv = [sys.executable, "-P", "-m", "netmodel.daemon", "--root", root, "--host", host, "--ready-fd", str(ready)]
    os.posix_spawn(
        sys.executable,
        argv,
        os.environ,
        setsid=True,
        setsigmask=[],
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
