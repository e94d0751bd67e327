"""Published ports where the kernel's translation ends: what comes to them, the engine carries.

The kernel translates neither one address family to the other nor what is sent to ::1. There, and only
there, the socket that holds the port is served: in one thread, by one event loop for all ports. The
container sees its gateway's address then, and what is under way ends with the engine.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address

from drivers.api import IPAddress
from drivers.kernel import pktinfo
from drivers.relayed import Admits, Means, Relayed
from drivers.relayed_datagrams import Datagrams
from drivers.relayed_streams import Streams

_LOOPBACK = IPv6Address("::1")
_PART = 4  # one in so many of the descriptors that the engine may have

Port = Streams | Datagrams


class Relay:
    """Serves sockets of held ports; safe to use from several threads.

    Args:
        leads_nowhere: Whether a link of the host, by its name, is that of an internal network, whose
            containers reach the host and nothing through it. The host itself is taken for one of them
            when it asks at that link's own address.
    """

    def __init__(self, leads_nowhere: Callable[[str], bool]) -> None:
        self._leads_nowhere = leads_nowhere
        self._lock = threading.Lock()
        self._ports: dict[int, Port] = {}  # by descriptor
        self._means: Means | None = None
        self._thread: threading.Thread | None = None

    def begin(self, ports: Iterable[tuple[socket.socket, Relayed]]) -> None:
        """Serve sockets from now on; those that are served already go on as they are.

        Raises:
            OSError: One cannot be called. None is served that was not before.
        """
        with self._lock:
            fresh = [(held, relayed) for held, relayed in ports if held.fileno() not in self._ports]
            if not fresh:
                return
            for held, relayed in fresh:
                _prepare(held, relayed)
            means = self._running()
            begun = {held.fileno(): self._port(means, held, relayed) for held, relayed in fresh}
            self._ports.update(begun)
            means.loop.call_soon_threadsafe(_begin, list(begun.values()))

    def end(self, held: Iterable[socket.socket]) -> None:
        """Stop serving sockets and end what goes through them; they stay open."""
        with self._lock:
            ended = [port for one in held if (port := self._ports.pop(one.fileno(), None)) is not None]
            if ended and self._means is not None:
                asyncio.run_coroutine_threadsafe(_end(ended), self._means.loop).result()

    def close(self) -> None:
        """End everything, and the thread."""
        with self._lock:
            ended, self._ports = list(self._ports.values()), {}
            if self._means is None or self._thread is None:
                return
            loop = self._means.loop
            asyncio.run_coroutine_threadsafe(_end(ended), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
            self._means = self._thread = None

    def _running(self) -> Means:
        """The loop and its thread, whose connections to containers are made in the first caller's namespace."""
        if self._means is None:
            loop = asyncio.new_event_loop()
            self._means = Means(loop, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _PART)
            self._thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
            self._thread.start()
        return self._means

    def _port(self, means: Means, held: socket.socket, relayed: Relayed) -> Port:
        kind = Streams if relayed.protocol == "tcp" else Datagrams
        return kind(means, held, (relayed.target, relayed.target_port), self._admits(relayed))

    def _admits(self, relayed: Relayed) -> Admits:
        def admits(called: IPAddress, link: int) -> bool:
            if called != _LOOPBACK and called.version != relayed.family:
                return False  # translated as a rule; somebody has just flushed the ruleset
            with suppress(OSError):  # the link is gone already
                return not self._leads_nowhere(socket.if_indextoname(link))
            return False

        return admits


def _begin(ports: Sequence[Port]) -> None:
    for port in ports:
        port.begin()


async def _end(ports: Sequence[Port]) -> None:
    for port in ports:
        await port.end()


def _prepare(held: socket.socket, relayed: Relayed) -> None:
    """Let a socket that only held its port be called."""
    held.setblocking(False)
    pktinfo.ask_for(held)
    if relayed.host_only:
        # Nobody else's packets come by it. But of the host's own, too, only those to loopback addresses
        # count: to others they seem to come by the link that has the address.
        # Source: Linux net/ipv6/ip6_input.c, ip6_rcv_core(); net/ipv4/route.c, ip_route_output_key_hash_rcu().
        held.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    if relayed.protocol == "udp":
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return
    held.listen(1024)
    # Its connections inherit this, and so hold the port against nobody when an engine that died has
    # left them behind. Not before it listens: two that both said so would both get the port.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
