"""Watching the target: did our question come in on a link, and did it pass the target's own firewall."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from netmodel.probe import sandbox
from netmodel.probe.probe import Probe

PACKET_OUTGOING = 4  # linux/if_packet.h: seen on its way out, which is no arrival


class Tap:
    """Sees one probe in one sandbox from the moment it is entered.

    Attributes:
        arrived: Questions seen on a link of the sandbox, before its firewall.
        delivered: Questions handed to its transport layer.
        sighting: Set when one is delivered.
    """

    def __init__(self, netns: Path | None, probe: Probe, family: int) -> None:
        self._netns, self._probe, self._family = netns, probe, family
        self._open = ExitStack()
        self.arrived = 0
        self.delivered = 0
        self.sighting = asyncio.Event()

    def __enter__(self) -> Self:
        try:
            self._watch(sandbox.delivered(self._netns, self._probe, self._family), self._on_delivered)
            self._watch(sandbox.arrived(self._netns, self._probe, self._family), self._on_arrived)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _watch(self, sock: socket.socket, react: Callable[[socket.socket], None]) -> None:
        loop = asyncio.get_running_loop()
        # Closing a packet socket waits for a grace period (10 ms; net/packet/af_packet.c, packet_release()),
        # which many can wait for together, but not in the loop.
        self._open.callback(loop.run_in_executor, None, sock.close)
        loop.add_reader(sock, react, sock)
        self._open.callback(loop.remove_reader, sock)

    def _on_delivered(self, sock: socket.socket) -> None:
        segment = sandbox.transport(sock.recv(65535), self._family, with_header=False)
        if self._probe.asked(segment, self._family):
            self.delivered += 1
            self.sighting.set()

    def _on_arrived(self, sock: socket.socket) -> None:
        packet, address = sock.recvfrom(65535)
        if address[2] == PACKET_OUTGOING:
            return
        if self._probe.asked(sandbox.transport(packet, self._family, with_header=True), self._family):
            self.arrived += 1
