"""Which host ids a container's own user namespace maps to: a range of 65,536 that no other has.

The ranges in use are those of the records; what is kept besides is a mark a range where all engines of
the machine look, since two that share a range may do to each other's containers what their own roots may.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path

from netmodel.errors import Unavailable

SIZE = 65536
# Below are the machine's own users and the ranges that useradd gives them in /etc/subuid.
# Above 2^31 some programs, and setfsuid(2) itself, take an id for a negative number.
_FIRST, _LAST = 256, 32766
# Gone with the machine's memory, as the containers are that it is about.
_REGISTRY = Path("/run/netmodel-ids")


class IdRanges:
    """Hands out ranges, going round, so that a range is not soon used again.

    Args:
        root: The state root, which the marks lead to: one that leads nowhere is nobody's.
        registry: Where the marks are. Engines that do not see each other's know nothing of each other.
    """

    def __init__(self, root_id: str, root: Path, registry: Path = _REGISTRY) -> None:
        self._lock = threading.Lock()
        self._used: set[int] = set()
        self._root = str(root)
        self._registry = str(registry)
        # Roots on one machine begin far apart, so that two engines seldom meet.
        self._next = _FIRST + int(root_id, 16) % (_LAST - _FIRST)

    def take(self) -> int:
        """The first host id of a free range."""
        with self._lock:
            for _ in range(_FIRST, _LAST + 1):
                candidate = self._next
                self._next = candidate + 1 if candidate < _LAST else _FIRST
                if candidate not in self._used and self._mark(candidate):
                    self._used.add(candidate)
                    return candidate * SIZE
        raise Unavailable("every range of user ids is in use", "remove containers")

    def claim(self, base: int) -> bool:
        """Take the range that a record holds; False when another engine has it meanwhile."""
        number = base // SIZE
        with self._lock:
            self._used.add(number)
            self._next = max(self._next, number + 1) if number < _LAST else _FIRST
            return self._mark(number)

    def sweep(self) -> None:
        """Forget our marks that no record claimed: a crash came between the two."""
        with self._lock, suppress(OSError):
            for name in os.listdir(self._registry):  # noqa: PTH208
                if name.isdigit() and int(name) not in self._used and self._holder(int(name)) == self._root:
                    with suppress(OSError):
                        os.unlink(f"{self._registry}/{name}")

    def release(self, base: int) -> None:
        number = base // SIZE
        with self._lock:
            self._used.discard(number)
            if self._holder(number) == self._root:
                with suppress(OSError):
                    os.unlink(f"{self._registry}/{number}")

    def _mark(self, number: int) -> bool:
        """Say that it is ours; False when it is another's. Where nothing can be written, all are."""
        mark = f"{self._registry}/{number}"
        for _ in range(3):
            try:
                os.symlink(self._root, mark)  # noqa: PTH211 - each start pays for it
                return True
            except FileExistsError:
                holder = self._holder(number)
                if holder == self._root:
                    return True  # left by a crash of ours
                if holder and os.path.isdir(holder):  # noqa: PTH112
                    return False
                self._forget_nobodys(mark, holder)
            except FileNotFoundError:
                Path(self._registry).mkdir(mode=0o700, exist_ok=True)
            except OSError:
                return True  # a read-only /run: then there is nobody else that writes there, either
        return False

    def _forget_nobodys(self, mark: str, holder: str) -> None:
        """Remove a mark that leads nowhere; one engine at a time, lest the second removes what the first has set."""
        directory = os.open(self._registry, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            with suppress(OSError):
                if os.readlink(mark) == holder:  # noqa: PTH115
                    os.unlink(mark)
        finally:
            os.close(directory)

    def _holder(self, number: int) -> str:
        try:
            return os.readlink(f"{self._registry}/{number}")  # noqa: PTH115
        except OSError:
            return ""
