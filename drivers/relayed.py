"""What is relayed of a published port, and what all relayed ports share."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from drivers.api import IPAddress

CHUNK_BYTES = 256 * 1024  # at once: measured, 0.8 GB/s where 64 KiB gave 0.4, and splice(2) no more
TELL_AGAIN_AFTER_S = 60.0

Admits = Callable[[IPAddress, int], bool]  # called at this address of the host, by the link of this index


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """The part of a published port that is relayed.

    Args:
        family: At all of the host's addresses of which family (that host_address allows); None is ::1 alone,
            at which it always is.
        host_address: None is every address of the host.
        host_only: Only the host itself may ask, and that at its loopback addresses.
    """

    protocol: Literal["tcp", "udp"]
    host_port: int
    target: IPAddress
    target_port: int
    family: Literal[4, 6] | None = None
    host_address: IPAddress | None = None
    host_only: bool = False


@dataclass(slots=True)
class Means:
    """What all ports share; used in the loop's thread alone.

    Args:
        watch: Of the sockets that hold the ports.
        descriptors: How many may still be opened: a flood of callers must not take all that the engine has.
        buffer: Empty whenever somebody else has their turn.
    """

    loop: asyncio.AbstractEventLoop
    watch: select.epoll
    descriptors: int
    buffer: bytearray = field(default_factory=lambda: bytearray(CHUNK_BYTES))
    _told: dict[str, float] = field(default_factory=dict)

    def take(self, count: int) -> bool:
        """Take descriptors; False, and none, if there are fewer."""
        if self.descriptors < count:
            return False
        self.descriptors -= count
        return True

    def give(self, count: int) -> None:
        """Give them back."""
        self.descriptors += count

    def tell(self, held: socket.socket, what: str) -> None:
        """Write to the engine's log what became too much for a port, once a minute."""
        address, port = held.getsockname()[:2]
        name = f"{address} port {port}"
        now = self.loop.time()
        if now - self._told.get(name, -TELL_AGAIN_AFTER_S) >= TELL_AGAIN_AFTER_S:
            self._told[name] = now
            logging.getLogger("netmodel").warning("published at %s: %s", name, what)


class RelayedPort:
    """One socket that is served; used in the thread of its loop alone.

    Args:
        held: Not ours to close. It does not block.
    """

    def __init__(self, means: Means, held: socket.socket, target: tuple[IPAddress, int], admits: Admits) -> None:
        self._means = means
        self._loop = means.loop
        self._held = held
        self._target = target
        self._admits = admits
