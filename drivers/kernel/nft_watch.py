"""Noticing that somebody changed the rules of a table of ours, or deleted it, as "nft flush ruleset" does."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from drivers.kernel import wire
from drivers.kernel.namespace import open_in

# Source: Linux include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h and netlink.h.
_NETLINK_NETFILTER = 12
_NFNLGRP_NFTABLES = 7
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_DELTABLE, _DELCHAIN, _NEWRULE, _DELRULE = (10 << 8 | number for number in (2, 5, 6, 8))  # NFNL_SUBSYS_NFTABLES << 8
_CHANGES = (_DELTABLE, _DELCHAIN, _NEWRULE, _DELRULE)
_NAME_OF_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
_NFGENMSG_BYTES = 4
_NFPROTO_INET = 1


class NftWatch:
    """Calls back, from a thread of its own, when rules of a table of family inet came or went, or the table itself.

    Elements of sets and maps may come and go unnoticed.

    Args:
        name: Of the table.
        changed: Told so, whoever did it; it may take its time. The kernel forgets what it cannot
            deliver, so it is also called when news may have been lost.
    """

    def __init__(self, name: str, changed: Callable[[], None], netns: Path | None = None) -> None:
        self._name, self._changed = name, changed
        self._socket = open_in(netns, _open)
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="nft-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching; no call comes afterwards."""
        os.eventfd_write(self._end, 1)
        self._thread.join()
        self._socket.close()
        os.close(self._end)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._end in ready:
                return
            if self._news():
                self._changed()

    def _news(self) -> bool:
        """Read all the news there is, so that many changes at once are one call."""
        found = False
        while True:
            try:
                news = self._socket.recv(65_536)
            except BlockingIOError:
                return found
            except OSError:  # ENOBUFS: more than the buffer holds
                found = True
                continue
            found = found or any(
                self._is_ours(kind, payload) for kind, _, _, payload in wire.messages(memoryview(news))
            )

    def _is_ours(self, kind: int, payload: memoryview) -> bool:
        if kind not in _CHANGES or payload[0] != _NFPROTO_INET:
            return False
        return wire.to_text(wire.attributes(payload, _NFGENMSG_BYTES).get(_NAME_OF_TABLE)) == self._name


def _open() -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    opened.bind((0, 0))
    opened.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    return opened
