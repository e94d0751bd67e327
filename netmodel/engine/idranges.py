"""Which host ids a container's own user namespace maps to: a range of 65,536 that no other has.

The ranges in use are those of the records; nothing is stored here.
"""

from __future__ import annotations

import threading

from netmodel.errors import Unavailable

SIZE = 65536
# Below are the machine's own users and the ranges that useradd gives them in /etc/subuid.
# Above 2^31 some programs, and setfsuid(2) itself, take an id for a negative number.
_FIRST, _LAST = 256, 32766


class IdRanges:
    """Hands out ranges, going round, so that a range is not soon used again."""

    def __init__(self, root_id: str) -> None:
        self._lock = threading.Lock()
        self._used: set[int] = set()
        # Roots on one machine begin far apart, so that two engines seldom share a range.
        self._next = _FIRST + int(root_id, 16) % (_LAST - _FIRST)

    def take(self) -> int:
        """The first host id of a free range."""
        with self._lock:
            for _ in range(_FIRST, _LAST + 1):
                candidate = self._next
                self._next = candidate + 1 if candidate < _LAST else _FIRST
                if candidate not in self._used:
                    self._used.add(candidate)
                    return candidate * SIZE
        raise Unavailable("every range of user ids is in use", "remove containers")

    def claim(self, base: int) -> None:
        """Mark a range that a record holds."""
        with self._lock:
            self._used.add(base // SIZE)
            self._next = max(self._next, base // SIZE + 1) if base // SIZE < _LAST else _FIRST

    def release(self, base: int) -> None:
        with self._lock:
            self._used.discard(base // SIZE)
