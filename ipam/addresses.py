"""Which addresses of one subnet have an owner, as plain integers.

Cost and memory grow with what was handed out, never with the size of the subnet: a /64 costs what a
/24 does. An address that comes back is handed out again last of all, because neighbours, connection
tracking and resolvers on the other side still remember its former owner.
"""

from __future__ import annotations

from collections import OrderedDict

# How many freed addresses are remembered in their order while less than half of the range is in use.
REMEMBERED = 1 << 16


class Addresses:
    """The owned addresses of a subnet, and the range that dynamic ones come from.

    Args:
        first: Of the range, inclusive.
        last: Of the range, inclusive; below first when the range is empty.
    """

    def __init__(self, first: int, last: int) -> None:
        self._first, self._last = first, last
        self._used: set[int] = set()
        self._used_of_range = 0
        # Every free address of the range is in _freed (oldest first), or not below _fresh, or else
        # _forgotten is set, and another lap of _fresh will find it.
        self._fresh = first
        self._freed: OrderedDict[int, None] = OrderedDict()
        self._forgotten = False

    @property
    def in_use(self) -> int:
        """All owned addresses, those outside the range included."""
        return len(self._used)

    @property
    def in_use_of_range(self) -> int:
        return self._used_of_range

    @property
    def available(self) -> int:
        """Free addresses of the range."""
        return max(0, self._last - self._first + 1) - self._used_of_range

    def __contains__(self, address: int) -> bool:
        return address in self._used

    def reserve(self, address: int) -> bool:
        """Take this very address, in the range or not; False if it has an owner."""
        if address in self._used:
            return False
        self._freed.pop(address, None)
        self._own(address)
        return True

    def take(self) -> int | None:
        """Take the range's next address: never-used ones first, then the one that is free longest."""
        if not self.available:
            return None
        address = self._next_fresh()
        if address is None:
            address, _ = self._freed.popitem(last=False)
        self._own(address)
        return address

    def release(self, address: int) -> bool:
        """Give an address back; False if it had no owner."""
        if address not in self._used:
            return False
        self._used.remove(address)
        if self._first <= address <= self._last:
            self._used_of_range -= 1
            self._freed[address] = None
            self._forget()
        return True

    def _own(self, address: int) -> None:
        self._used.add(address)
        if self._first <= address <= self._last:
            self._used_of_range += 1

    def _next_fresh(self) -> int | None:
        address = self._after_used(self._fresh)
        if address > self._last and self._forgotten:
            self._forgotten = False
            address = self._after_used(self._first)
        self._fresh = min(address, self._last) + 1
        return address if address <= self._last else None

    def _after_used(self, address: int) -> int:
        # Each lap passes an address once, so this is constant time on average over a lap.
        while address <= self._last and (address in self._used or address in self._freed):
            address += 1
        return address

    def _forget(self) -> None:
        """Keep the memory of freed addresses bounded.

        Only while half of the range is free: the lap that finds the forgotten ones again then costs
        about one step for each address it hands out.
        """
        if len(self._freed) > REMEMBERED and self.available > self._used_of_range:
            self._freed.popitem(last=False)
            self._forgotten = True
