"""Noticing that somebody deleted a table of ours, as "nft flush ruleset" does with all of them."""

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
_NFT_MSG_DELTABLE = 10 << 8 | 2  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE
_NFTA_TABLE_NAME = 1
_NFGENMSG_BYTES = 4
_NFPROTO_INET = 1


class NftWatch:
    """Calls back, from a thread of its own, each time a table of family inet has been deleted.

    Args:
        name: Of the table.
        gone: Told of the deletion, by whomever; it may take its time. The kernel forgets what it
            cannot deliver, so it is also called when news may have been lost.
    """

    def __init__(self, name: str, gone: Callable[[], None], netns: Path | None = None) -> None:
        self._name, self._gone = name, gone
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
            if self._deleted():
                self._gone()

    def _deleted(self) -> bool:
        """Read all the news there is, so that many deletions at once are one call."""
        deleted = False
        while True:
            try:
                news = self._socket.recv(65_536)
            except BlockingIOError:
                return deleted
            except OSError:  # ENOBUFS: more than the buffer holds
                deleted = True
                continue
            deleted = deleted or any(
                self._is_ours(kind, payload) for kind, _, _, payload in wire.messages(memoryview(news))
            )

    def _is_ours(self, kind: int, payload: memoryview) -> bool:
        if kind != _NFT_MSG_DELTABLE or payload[0] != _NFPROTO_INET:
            return False
        return wire.to_text(wire.attributes(payload, _NFGENMSG_BYTES).get(_NFTA_TABLE_NAME)) == self._name


def _open() -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
    )
    opened.bind((0, 0))
    opened.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    return opened
