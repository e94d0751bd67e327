"""Reading and writing the small files of a control group, and walking and removing its directories."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator

# How long between two looks while a dying process leaves its group: the kernel tells nobody on v1.
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


def read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, 65536):
            chunks.append(chunk)
        return b"".join(chunks).decode()
    finally:
        os.close(descriptor)


def write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read_int(path: str, default: int = 0) -> int:
    """A number; default when the file is missing."""
    try:
        return int(read(path))
    except FileNotFoundError:
        return default


def read_table(path: str) -> dict[str, int]:
    """Lines of "key number"; empty when the file is missing. Lines of another form are left out."""
    try:
        return table(read(path))
    except FileNotFoundError:
        return {}


def table(text: str) -> dict[str, int]:
    rows = (line.split() for line in text.splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].lstrip("-").isdigit()}


def check_name(name: str) -> str:
    """One path component, so that nothing outside the prefix is ever reached."""
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"{name!r} is not the name of a control group")
    return name


def walk_up(directory: str) -> Iterator[str]:
    """The groups below a directory and itself, each after those in it; nothing when it is missing."""
    try:
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in below:
        yield from walk_up(path)
    yield directory


def processes(directory: str) -> list[int]:
    """Ids of the processes in a group and below it."""
    pids: set[int] = set()
    for path in walk_up(directory):
        # ENODEV: it was removed between the listing and the look. EOPNOTSUPP: a threaded group of v2.
        try:
            pids.update(int(pid) for pid in read(f"{path}/cgroup.procs").split())
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
    return sorted(pids - {0})  # 0: a process that our PID namespace does not see


def remove(directory: str) -> bool:
    """Remove a group and those below it; False while one is in use."""
    with contextlib.suppress(OSError):  # nearly always there is none below, and this is all
        os.rmdir(directory)
        return True
    for path in walk_up(directory):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            return False
    return True


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Look again and again, soon at first, until the condition holds or the time is over."""
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    return True


def list_groups(directory: str) -> set[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    return set()
