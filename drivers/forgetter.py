"""Ending the conversations that a withdrawn port carried, and those that began before a port was published.

The kernel translates a connection's first packet by our rules and all later ones by what it
remembers, so changing a rule changes nothing for a sender that goes on. UDP above all: there, a
sender goes on for ever.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address

from drivers.elements import Opening, Port, Publication
from drivers.kernel.conntrack import PROTOCOLS, Connection, Conntrack
from drivers.kernel.errors import KernelError

_PAUSE_S = 0.1
_FEW = 2  # targets, as a container has: the kernel is asked for each of them, and else for all there are

Early = tuple[int, int, int]  # IP version, protocol, host port


class Forgetter:
    """Has the kernel forget connections; where it has to be told which, they are looked for in a thread of their own.

    One look costs 5 ms however little it finds, so nobody waits for it, and what is asked for in
    the meantime is one look together: removing a thousand containers is a handful of looks.
    """

    def __init__(self) -> None:
        self._conntrack = Conntrack()
        self._at_once = Conntrack()  # who uses it waits for no look
        self._wake = threading.Condition()
        self._withdrawn: set[Port] = set()
        self._early: set[Early] = set()
        self._busy = self._closed = False
        self._thread = threading.Thread(target=self._work, name="forgetter", daemon=True)
        self._thread.start()

    def withdraw(self, ports: Sequence[Port], last: bool = False) -> None:
        """Forget soon what goes through these ports; their rules are gone already.

        Args:
            last: Nothing that is published leads to their targets any more.
        """
        if last:
            ports = self._not_forgotten(ports)
        with self._wake:
            if ports:
                self._withdrawn.update(ports)
                self._wake.notify_all()

    def published(self, ports: Sequence[Port]) -> None:
        """Forget soon what was sent to these ports before; their rules are in place.

        A connection that came too early is refused, and its sender begins another. A datagram has
        left an entry without translation, which all later ones follow past the new rule.
        """
        early = {
            (one.target.version, PROTOCOLS[one.protocol], one.host_port)
            for one in ports
            if isinstance(one, Publication) and one.protocol != "tcp"
        }
        with self._wake:
            if self._withdrawn or early:  # a thread that is woken takes its turn from us
                self._withdrawn.difference_update(ports)
                self._early.update(early)
                self._wake.notify_all()

    def settle(self) -> None:
        """Return when all that was asked for is forgotten."""
        with self._wake:
            self._wake.wait_for(lambda: self._closed or not (self._busy or self._withdrawn or self._early))

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self.settle()
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()
        self._conntrack.close()
        self._at_once.close()

    def _not_forgotten(self, ports: Sequence[Port]) -> list[Port]:
        """Forget now all that goes to the targets, where the kernel can; returns the ports for which it could not."""
        targets = {one.target for one in ports if isinstance(one, Publication)}
        done = {one for one in targets if isinstance(one, IPv4Address) and self._at_once.forget_translated(one)}
        return [one for one in ports if not (isinstance(one, Publication) and one.target in done)]

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._withdrawn or self._early)
                if self._closed:
                    return
                withdrawn, early = self._withdrawn, self._early
                self._withdrawn, self._early, self._busy = set(), set(), True
            # What cannot be forgotten ends by itself when it falls silent; there is nobody to tell.
            with contextlib.suppress(KernelError):
                self._forget(withdrawn, early)
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._closed, _PAUSE_S)

    def _forget(self, withdrawn: set[Port], early: set[Early]) -> None:
        published = [one for one in withdrawn if isinstance(one, Publication)]
        gone = {(PROTOCOLS[one.protocol], one.host_port, one.target, one.target_port) for one in published}
        targets = {one.target for one in published}
        for target in targets if len(targets) <= _FEW else (None,):
            self._conntrack.forget([one for one in self._conntrack.translated(target) if _key(one) in gone])
        opened = {(one.target.version, PROTOCOLS[one.protocol]) for one in withdrawn if isinstance(one, Opening)}
        for family, protocol in opened:
            ends = {(one.target, one.target_port) for one in withdrawn if isinstance(one, Opening)}
            found = self._conntrack.untranslated(protocol, family)
            self._conntrack.forget(
                [one for one in found if (one.original.destination, one.original.destination_port) in ends]
            )
        for ip, protocol in {(version, protocol) for version, protocol, _port in early}:
            found = self._conntrack.untranslated(protocol, ip)
            ports = {port for v, p, port in early if (v, p) == (ip, protocol)}
            self._conntrack.forget([one for one in found if one.original.destination_port in ports])


def _key(connection: Connection) -> tuple[int, int, object, int]:
    asked, answered = connection.original, connection.reply
    return asked.protocol, asked.destination_port, answered.source, answered.source_port
