"""Who a process runs as, by the container's own /etc/passwd and /etc/group."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import StartFailed

_PASSWD = "/etc/passwd"
_GROUP = "/etc/group"
_PASSWD_FIELDS = 7
_LIMIT_BYTES = 1 << 20
# As in Docker. The kernel takes the last 32-bit number for "as it is", which would be root.
_LAST_ID = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def resolve(user: str, extra_groups: Sequence[str] = (), passwd: str = _PASSWD, group: str = _GROUP) -> User:
    """Turn "", "uid", "name", "uid:gid" or "name:group" into numbers.

    Numbers need no file. Without a group it is the user's own, and 0 for a number that the file does
    not know; further groups are those that list the user, but only if no group was named.

    Raises:
        StartFailed: A name that the container does not know.

    Source: moby's user lookup (github.com/moby/sys/user, GetExecUser).
    """
    name, _, group_name = user.partition(":")
    entry = _find_user(name or "0", passwd)
    if entry is not None:
        uid, gid, home = int(entry[2]), int(entry[3]), entry[5] or "/"
    elif not name or _is_number(name):
        uid, gid, home = int(name or "0"), 0, "/"
    else:
        raise StartFailed(
            128, f"user {name!r} is not in {passwd} of the container", "name one that is there, or give its number"
        )
    groups: list[int] = []
    if group_name:
        gid = _group_id(group_name, group)
    elif entry is not None:
        groups = [int(fields[2]) for fields in _entries(group, 4) if entry[0] in fields[3].split(",")]
    groups.extend(_group_id(extra, group) for extra in extra_groups)
    for number in (uid, gid, *groups):
        if number > _LAST_ID:
            raise StartFailed(128, f"{number} is no user or group", f"they go from 0 to {_LAST_ID}")
    return User(uid, gid, tuple(dict.fromkeys((gid, *groups))), home)


def _find_user(name: str, passwd: str) -> list[str] | None:
    """A name is looked up before a number is: useradd lets names be digits."""
    entries = _entries(passwd, _PASSWD_FIELDS)
    for column in (0, 2):
        for fields in entries:
            if fields[column] == name:
                return fields
    return None


def _group_id(name: str, group: str) -> int:
    for fields in _entries(group, 4):
        if fields[0] == name:
            return int(fields[2])
    if _is_number(name):
        return int(name)
    raise StartFailed(
        128, f"group {name!r} is not in {group} of the container", "name one that is there, or give its number"
    )


def _entries(path: str, fields: int) -> list[list[str]]:
    """The well-formed lines of a file that may be missing, or say anything, since the container wrote it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        data = os.read(file, min(os.fstat(file).st_size, _LIMIT_BYTES))
    except OSError:
        return []
    finally:
        os.close(file)
    entries = [line.split(":") for line in data.decode(errors="replace").split("\n")]
    numbers = slice(2, 4 if fields == _PASSWD_FIELDS else 3)
    return [entry for entry in entries if len(entry) >= fields and all(map(_is_number, entry[numbers]))]


def _is_number(text: str) -> bool:
    """Of digits that int() knows, and not so many that it takes its time."""
    return text.isascii() and text.isdigit() and len(text) <= 20
