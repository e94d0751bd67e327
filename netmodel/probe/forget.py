"""Forgetting the neighbours that probing made.

The kernel has one neighbour table a family for all namespaces together, and refuses a new entry
past gc_thresh3 (1,024 unless somebody raised it) while the old ones are younger than five seconds.
Raising it is a host-wide change that is not ours to make.
Source: Linux net/core/neighbour.c, neigh_alloc() and neigh_forced_gc().
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from drivers.kernel import wire
from drivers.kernel.neighbour import NDA_DST, NUD_PERMANENT, RTM_NEWNEIGH, delete_neighbour, get_neighbours
from drivers.kernel.netlink import Netlink
from netmodel.probe.probe import IPAddress

GC_THRESH3 = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
ENTRIES = Path("/proc/1/net/stat/arp_cache")
SMALLEST_WAVE = 32
_NDMSG = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_NOARP = 0x40

_Entry = tuple[int, IPAddress]


def wave_size() -> int:
    """How many pairs may be asked now before their neighbours have to go.

    A pair and its opposite make two entries, so a third of the room leaves some for everybody else.
    """
    return max(SMALLEST_WAVE, (_limit() - _entries()) // 3)


@cache
def _limit() -> int:
    try:
        return int(GC_THRESH3.read_text())
    except (OSError, ValueError):  # only the first namespace shows it
        return 1024


def _entries() -> int:
    """How many there are now, everybody's; told by the first namespace only, which is most often process 1's."""
    try:
        return int(ENTRIES.read_text().splitlines()[1].split()[0], 16)
    except (OSError, ValueError, IndexError):
        return 0


class Forgetful:
    """Remembers what each sandbox knew before, and makes it forget the rest."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._sockets: dict[Path | None, Netlink] = {}
        self._before: dict[Path | None, set[_Entry]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def remember(self, stacks: Iterable[Path | None]) -> None:
        """Note what sandboxes not seen before know now."""
        for netns in stacks:
            if netns not in self._sockets:
                self._sockets[netns] = self._open.enter_context(Netlink(netns))
                self._before[netns] = set(self._known(netns))

    def forget(self, stacks: Iterable[Path | None]) -> None:
        """Delete what was learned since, static entries excepted."""
        for netns in stacks:
            learned = [entry for entry in self._known(netns) if entry not in self._before[netns]]
            self._sockets[netns].attempt([delete_neighbour(*entry) for entry in learned])

    def _known(self, netns: Path | None) -> list[_Entry]:
        return self._sockets[netns].get(get_neighbours(), _read)


def _read(kind: int, payload: memoryview) -> _Entry | None:
    """Only what is needed, by hand: a matrix reads some ten thousand of these."""
    _family, link, state, _flags, _type = _NDMSG.unpack_from(payload)
    if kind != RTM_NEWNEIGH or state & (NUD_PERMANENT | _NOARP):
        return None
    destination = wire.attributes(payload, _NDMSG.size).get(NDA_DST)
    return (link, ip_address(bytes(destination))) if destination and len(destination) in (4, 16) else None
