"""Which host ids a container's own user namespace maps to: a range of 65,536 that no other has, or ids it chose.

The ranges in use are those of the records; what is kept besides is a mark a range where all engines of
the machine look, since two that share a range may do to each other's containers what their own roots may.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from netmodel.errors import Conflict, Unavailable
from netmodel.model import Container
from netmodel.userns import maps_of

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
        self._chosen: list[range] = []
        self._touched: Counter[int] = Counter()  # ranges by number, of which some ids were chosen
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
                if candidate not in self._used and not self._touched[candidate] and self._mark(candidate):
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

    def hold(self, spans: Sequence[range]) -> None:
        """Take ids that somebody chose, each not below 65,536: below are the machine's own users.

        Raises:
            Conflict: Another container has one of them, or another engine all of their range.
        """
        with self._lock:
            for span in spans:
                if not self._is_free(span):
                    raise Conflict(
                        f"ids {span.start} to {span[-1]} of the host are another container's, or some of them",
                        "map to others, or let the engine choose",
                    )
            for span in spans:
                self._chosen.append(span)
                self._touched.update(_numbers(span))
                for number in _numbers(span):
                    self._mark(number)

    def _is_free(self, span: range) -> bool:
        if any(span.start < other.stop and other.start < span.stop for other in self._chosen):
            return False
        return not any(number in self._used or self._is_anothers(number) for number in _numbers(span))

    def _is_anothers(self, number: int) -> bool:
        holder = self._holder(number)
        return holder not in ("", self._root) and os.path.isdir(holder)  # noqa: PTH112

    def let_go(self, spans: Sequence[range]) -> None:
        """Give back what was held."""
        with self._lock:
            for span in spans:
                if span not in self._chosen:
                    continue
                self._chosen.remove(span)
                self._touched.subtract(_numbers(span))
                for number in _numbers(span):
                    if not self._touched[number]:
                        self._unmark(number)

    def adopt(self, container: Container) -> bool:
        """Take what a record holds; False when somebody else has it meanwhile."""
        maps = maps_of(container.config.userns_mode)
        if container.idmap_base is None or not owns_ids(container):
            return True
        if maps is None:
            return self.claim(container.idmap_base)
        try:
            self.hold(maps.taken())
        except Conflict:
            return False
        return True

    def give_back(self, container: Container) -> None:
        """Release what a record holds."""
        maps = maps_of(container.config.userns_mode)
        if container.idmap_base is None or not owns_ids(container):
            return
        if maps is None:
            self.release(container.idmap_base)
        else:
            self.let_go(maps.taken())

    def sweep(self) -> None:
        """Forget our marks that no record claimed: a crash came between the two."""
        with self._lock, suppress(OSError):
            for name in os.listdir(self._registry):  # noqa: PTH208
                if not name.isdigit() or int(name) in self._used or self._touched[int(name)]:
                    continue
                if self._holder(int(name)) == self._root:
                    with suppress(OSError):
                        os.unlink(f"{self._registry}/{name}")

    def release(self, base: int) -> None:
        number = base // SIZE
        with self._lock:
            self._used.discard(number)
            self._unmark(number)

    def _unmark(self, number: int) -> None:
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


def owns_ids(container: Container) -> bool:
    """Whether its ids are its own, and not those of another container whose namespaces it shares."""
    return container.sandbox in (container.id, "host") and not container.users


def _numbers(span: range) -> range:
    return range(span.start // SIZE, (span.stop - 1) // SIZE + 1)
