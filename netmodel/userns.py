"""The modes of a container's user namespace: a private one, the host's, one that keeps an id, one with a chosen map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from netmodel.errors import Invalid

HOST = "host"
_PRIVATE = ("", "auto", "private")  # Docker's, podman's and Docker's word
_KEEP = re.compile(r"keep-id:uid=(\d+),gid=(\d+)")
_SIZED = re.compile(r"auto:size=(\d+)")
_MAPPED = "private:"
_RANGE = 65536
_HINT = (
    "leave it out for a private one, or use host, keep-id:uid=1000,gid=1000, auto:size=4096, "
    "or private:uidmap=0:100000:65536"
)
# Source: Linux include/linux/user_namespace.h, UID_GID_MAP_MAX_EXTENTS; ids are 32 bits, and the last is no id.
_MOST_LINES = 340
_IDS = (1 << 32) - 1

Line = tuple[int, int, int]  # first id inside, first id on the host, how many


@dataclass(frozen=True, slots=True)
class Maps:
    """Which ids a user namespace has, as its user chose them; sorted by the ids inside."""

    uids: tuple[Line, ...]
    gids: tuple[Line, ...]

    @property
    def root(self) -> int:
        """The host's id for root, user and group."""
        return self.uids[0][1]

    def taken(self) -> list[range]:
        """The ids of the host that nobody else's map may have: all but those of the machine's own users."""
        spans = (range(max(outside, _RANGE), outside + count) for _, outside, count in (*self.uids, *self.gids))
        return [span for span in spans if span]


def check_userns(mode: str) -> str:
    """The mode as it was given.

    Raises:
        Invalid: It is none, or keeps an id that cannot be kept, or its map cannot be.
    """
    if mode in (*_PRIVATE, HOST) or maps_of(mode) is not None:
        return mode
    if (found := _SIZED.fullmatch(mode)) is not None:
        if not 1 <= int(found[1]) <= _RANGE:
            raise Invalid(f"a user namespace of {found[1]} ids cannot be had", f"from 1 to {_RANGE}")
        return mode
    kept = kept_ids(mode)
    if kept is None:
        raise Invalid(f"user namespace mode {mode!r} is not known", _HINT)
    for number in kept:
        if not 0 < number < _RANGE:
            raise Invalid(f"id {number} cannot be kept", f"from 1 to {_RANGE - 1}: root's would be the host's root")
    return mode


def kept_ids(mode: str) -> tuple[int, int] | None:
    """The user and the group that are the same inside and on the host, if any."""
    found = _KEEP.fullmatch(mode)
    return None if found is None else (int(found[1]), int(found[2]))


def size_of(mode: str) -> int:
    """How many ids of its private range a container has."""
    found = _SIZED.fullmatch(mode)
    return _RANGE if found is None else int(found[1])


def maps_of(mode: str) -> Maps | None:
    """The maps of a mode that chooses them: "private:uidmap=0:100000:1000,uidmap=1000:5000:1,gidmap=0:100000:1001".

    Without a gidmap the groups are mapped as the users are, as podman has it.

    Raises:
        Invalid: They cannot be.
    """
    if not mode.startswith(_MAPPED):
        return None
    lines: dict[str, list[Line]] = {"uidmap": [], "gidmap": []}
    for option in mode.removeprefix(_MAPPED).split(","):
        name, _, text = option.partition("=")
        if name not in lines:
            raise Invalid(f"user namespace mode {mode!r} is not known: it says {option!r}", _HINT)
        lines[name].append(_line(text))
    uids = _checked(lines["uidmap"] or lines["gidmap"])
    gids = _checked(lines["gidmap"] or lines["uidmap"])
    if uids[0][1] != gids[0][1]:
        raise Invalid(
            f"user 0 is {uids[0][1]} on the host, and group 0 is {gids[0][1]}", "let root's user and group be the same"
        )
    return Maps(uids, gids)


def _line(text: str) -> Line:
    parts = text.split(":")
    if len(parts) == 2:
        parts.append("1")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise Invalid(f"{text!r} maps no ids", "write ID:HOST-ID[:HOW-MANY], such as 0:100000:65536")
    inside, outside, count = map(int, parts)
    if not count or inside + count > _IDS or outside + count > _IDS:
        raise Invalid(f"{text} maps ids that there are not", f"ids are below {_IDS}, and one at least is mapped")
    if outside == 0:
        raise Invalid(f"{text} makes one of its users the host's root", "userns_mode: host is for that")
    return inside, outside, count


def _checked(lines: Iterable[Line]) -> tuple[Line, ...]:
    found = tuple(sorted(lines))
    if len(found) > _MOST_LINES:
        raise Invalid(f"a map of {len(found)} lines is longer than the kernel takes", f"at most {_MOST_LINES}")
    if found[0][0] != 0:
        raise Invalid("the map has no id 0, and a container is nothing without its root", "map it: 0:100000:1")
    _check_apart([(inside, count) for inside, _, count in found], "of the container")
    _check_apart(sorted((outside, count) for _, outside, count in found), "of the host")
    return found


def _check_apart(spans: Sequence[tuple[int, int]], whose: str) -> None:
    for (first, count), (second, _) in pairwise(spans):
        if first + count > second:
            raise Invalid(f"id {second} {whose} is mapped twice", "let no two lines have ids in common")


def with_ids(mode: str, uid: int, gid: int) -> str:
    """ "keep-id" alone means whoever asks."""
    return f"keep-id:uid={uid},gid={gid}" if mode == "keep-id" else mode
