"""The modes of a container's user namespace: a private one, the host's, or a private one that keeps one id."""

from __future__ import annotations

import re

from netmodel.errors import Invalid

HOST = "host"
_KEEP = re.compile(r"keep-id:uid=(\d+),gid=(\d+)")
_RANGE = 65536


def check_userns(mode: str) -> str:
    """The mode as it was given.

    Raises:
        Invalid: It is none, or keeps an id that cannot be kept.
    """
    if mode in ("", HOST):
        return mode
    kept = kept_ids(mode)
    if kept is None:
        raise Invalid(
            f"user namespace mode {mode!r} is not known",
            "leave it out for a private one, or use host, or keep-id:uid=1000,gid=1000",
        )
    for number in kept:
        if not 0 < number < _RANGE:
            raise Invalid(f"id {number} cannot be kept", f"from 1 to {_RANGE - 1}: root's would be the host's root")
    return mode


def kept_ids(mode: str) -> tuple[int, int] | None:
    """The user and the group that are the same inside and on the host, if any."""
    found = _KEEP.fullmatch(mode)
    return None if found is None else (int(found[1]), int(found[2]))


def with_ids(mode: str, uid: int, gid: int) -> str:
    """ "keep-id" alone means whoever asks."""
    return f"keep-id:uid={uid},gid={gid}" if mode == "keep-id" else mode
