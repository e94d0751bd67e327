"""Published ports where the kernel's translation ends: what comes to them, the engine carries.

The kernel translates neither one address family to the other nor what is sent to ::1. There, and only
there, the socket that holds the port is served: in one thread, by one event loop for all ports. The
container sees its gateway's address then, and what is under way ends with the engine.
"""

from __future__ import annotations

import asyncio
import resource
import select
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

    A port costs next to nothing until somebody calls: all are watched together, in an epoll of their own.

    Args:
        leads_nowhere: Whether a link of the host, by its name, is that of an internal network, whose
            containers reach the host and nothing through it. The host itself is taken for one of them
            when it asks at that link's own address.
    """

    def __init__(self, leads_nowhere: Callable[[str], bool]) -> None:
        self._leads_nowhere = leads_nowhere
        self._lock = threading.Lock()  # never held while the loop is waited for
        self._held: dict[int, tuple[socket.socket, Relayed]] = {}  # by descriptor
        self._called: dict[int, Port] = {}  # of these, the ones that somebody has called
        self._means: Means | None = None
        self._thread: threading.Thread | None = None

    def begin(self, ports: Iterable[tuple[socket.socket, Relayed]]) -> None:
        """Serve sockets that do not block from now on; those that are served already go on as they are.

        Raises:
            OSError: One cannot be called. None is served that was not before.
        """
        with self._lock:
            fresh = {held.fileno(): (held, relayed) for held, relayed in ports if held.fileno() not in self._held}
            if not fresh:
                return
            for held, relayed in fresh.values():
                _prepare(held, relayed)
            watch = self._running().watch
            self._held.update(fresh)
            try:
                for descriptor in fresh:
                    watch.register(descriptor, select.EPOLLIN)
            except OSError:
                self._forget(fresh)
                raise

    def end(self, held: Iterable[socket.socket]) -> None:
        """Stop serving sockets and end what goes through them; they stay open."""
        with self._lock:
            ended = self._forget([one.fileno() for one in held])
        self._end(ended)

    def close(self) -> None:
        """End everything, and the thread."""
        with self._lock:
            ended = self._forget(list(self._held))
        if self._means is None or self._thread is None:
            return
        self._end(ended)
        loop = self._means.loop
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        self._means.watch.close()
        self._means = self._thread = None

    def _forget(self, descriptors: Iterable[int]) -> list[Port]:
        """Watch them no more; returns those that were ever called, whose conversations go on."""
        for descriptor in descriptors:
            if self._held.pop(descriptor, None) is not None and self._means is not None:
                with suppress(FileNotFoundError):  # what could not be watched
                    self._means.watch.unregister(descriptor)
        return [port for one in descriptors if (port := self._called.pop(one, None)) is not None]

    def _end(self, ports: Sequence[Port]) -> None:
        if ports and self._means is not None:
            asyncio.run_coroutine_threadsafe(_end(ports), self._means.loop).result()

    def _running(self) -> Means:
        """The loop and its thread, whose connections to containers are made in the first caller's namespace."""
        if self._means is None:
            loop, watch = asyncio.new_event_loop(), select.epoll()
            self._means = Means(loop, watch, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _PART)
            loop.add_reader(watch, self._serve, watch)
            self._thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
            self._thread.start()
        return self._means

    def _serve(self, watch: select.epoll) -> None:
        for descriptor, _ in watch.poll(0):
            if port := self._port(descriptor):
                port.serve()

    def _port(self, descriptor: int) -> Port | None:
        with self._lock:
            known = self._called.get(descriptor)
            if known is None and self._means is not None and descriptor in self._held:
                held, relayed = self._held[descriptor]
                kind = Streams if relayed.protocol == "tcp" else Datagrams
                target = (relayed.target, relayed.target_port)
                known = self._called[descriptor] = kind(self._means, held, target, self._admits(relayed))
            return known

    def _admits(self, relayed: Relayed) -> Admits:
        def admits(called: IPAddress, link: int) -> bool:
            if called != _LOOPBACK and called.version != relayed.family:
                return False  # translated as a rule; somebody has just flushed the ruleset
            with suppress(OSError):  # the link is gone already
                return not self._leads_nowhere(socket.if_indextoname(link))
            return False

        return admits


async def _end(ports: Sequence[Port]) -> None:
    for port in ports:
        await port.end()


def _prepare(held: socket.socket, relayed: Relayed) -> None:
    """Let a socket that only held its port be called."""
    pktinfo.ask_for(held)
    if relayed.host_only:
        # Nobody else's packets come by it. But of the host's own, too, only those to loopback addresses
        # count: to others they seem to come by the link that has the address.
        # Source: Linux net/ipv6/ip6_input.c, ip6_rcv_core(); net/ipv4/route.c, ip_route_output_key_hash_rcu().
        held.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    if relayed.protocol == "udp":
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    else:
        held.listen(1024)
