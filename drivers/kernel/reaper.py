"""Links that are no longer wanted: out of service at once, deleted later and together.

Deleting one link costs a grace period of the kernel (20 to 37 ms) under the lock that every change
of the network needs; deleting a whole group of links costs one grace period for all.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from drivers.kernel.errors import KernelError
from drivers.kernel.link import IFLA_GROUP, IFLA_IFNAME, IFLA_MASTER, change, delete_group, set_down
from drivers.kernel.netlink import Netlink
from drivers.kernel.wire import Request, text, u32

_QUIET_S = 0.1  # deletions wait until nobody retired a link for so long,
_LATEST_S = 1.0  # but not longer than this,
_MANY = 256  # nor for more than so many


class Reaper:
    """Retires links of the host and deletes them in batches, from one thread of its own.

    A retired link loses its name, so that the name may be given again at once, but keeps its alias:
    a new engine's reaper finds the links of the last one in the same group.

    Args:
        root_id: Eight hexadecimal digits; gives the group its number.
        netns: Where the links are; None is the calling thread's own namespace.
    """

    def __init__(self, root_id: str, netns: Path | None = None) -> None:
        # Two sockets, so that retiring never waits for the answer to a deletion.
        self._host, self._own = Netlink(netns), Netlink(netns)
        self.group = int(root_id, 16) & 0x3FFFFFFF | 0x40000000
        self._wake = threading.Condition()
        self._waiting = 0
        self._since = self._last = 0.0
        self._drain = self._closed = False
        self._thread = threading.Thread(target=self._reap, name="reaper", daemon=True)
        self._thread.start()

    def retire(self, names: Sequence[str]) -> None:
        """Take links out of service: down, out of their bridge, and without their name. One that is gone is no error.

        Raises:
            KernelError: The first refusal; the other links are retired all the same.
        """
        requests: list[Request] = []
        for name in names:
            link = self._host.link(name)
            if link is not None:
                requests += self._retirement(link.index)
        if not requests:
            return
        refusals = self._host.attempt(requests)
        with self._wake:
            now = time.monotonic()
            self._since = now if not self._waiting else self._since
            self._last = now
            self._waiting += len(names)
            self._wake.notify_all()
        for refusal in refusals:
            if refusal.errno != errno.ENODEV:  # its namespace's end took it, between our two looks
                raise refusal

    def drain(self) -> None:
        """Delete all retired links now, those of an earlier engine included, and return when they are gone."""
        with self._wake:
            self._drain = True
            self._wake.notify_all()
            self._wake.wait_for(lambda: not self._drain or self._closed)

    def close(self) -> None:
        """Delete what is retired and end the thread."""
        self.drain()
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()
        self._own.close()
        self._host.close()

    def _retirement(self, index: int) -> list[Request]:
        # Down first: not every kernel renames a running link. The index makes the name unique.
        out = [text(IFLA_IFNAME, f"nmx{index:x}"), u32(IFLA_GROUP, self.group), u32(IFLA_MASTER, 0)]
        return [set_down(index), change(index, f"retire link {index}", out)]

    def _reap(self) -> None:
        while True:
            with self._wake:
                self._wait_until_due()
                if self._closed:
                    return
                draining, self._waiting = self._drain, 0
            self._delete()
            if draining:
                with self._wake:
                    self._drain = False
                    self._wake.notify_all()

    def _wait_until_due(self) -> None:
        while not self._closed and not self._drain:
            if not self._waiting:
                self._wake.wait()
                continue
            now = time.monotonic()
            left = min(self._last + _QUIET_S, self._since + _LATEST_S) - now
            if left <= 0 or self._waiting >= _MANY:
                return
            self._wake.wait(left)

    def _delete(self) -> None:
        try:
            self._own.apply([delete_group(self.group)])
        except KernelError:
            # Nothing is lost: they stay in the group, and the next deletion takes them along.
            return
