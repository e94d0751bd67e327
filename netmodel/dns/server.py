"""The name service of all sandboxes: one thread, one event loop, two sockets in each namespace.

The sockets are made by whoever may enter the namespaces. What a query needs of other machines is a
task of its own, so that a slow one delays nobody but its asker.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.rcode

from netmodel.dns.answer import LARGEST_TCP_BYTES, bare_answer, read_query
from netmodel.dns.served import Served
from netmodel.dns.stream import read_message, write_message
from netmodel.dns.upstream import Forwarder, OpenSocket, ResolvConf
from netmodel.dns.view import Alias, View
from netmodel.dns.zone import Zone

BURST = 32  # packets of one sandbox, before the others have their turn
# Queries and connections under way: each holds a descriptor of the engine's.
TASKS_OF_ONE = 128
TASKS_OF_ALL = 4096
ACCEPT_AGAIN_AFTER_S = 1.0
IDLE_S = 10.0  # RFC 7766 section 6.2.3 asks for seconds


class DnsServer:
    """Answers each sandbox for the networks it is on; start() before the first serve().

    Args:
        zone: Names and addresses of all networks.
        host_resolv_conf: Names the servers that know the rest, for sandboxes without their own.
        servers: Those instead, if there are any.
    """

    def __init__(
        self, zone: Zone, host_resolv_conf: Path = Path("/etc/resolv.conf"), servers: Sequence[str] = ()
    ) -> None:
        self._zone = zone
        self._host = Forwarder((lambda: servers) if servers else ResolvConf(host_resolv_conf).servers)
        self._served: dict[str, Served] = {}
        self._lock = threading.Lock()
        self._tasks = 0
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; its sockets to the host's name servers are in the caller's namespace."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="netmodel-dns", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close all sockets and end the thread."""
        for sandbox in list(self._served):
            self.forget(sandbox)
        if self._thread is not None:
            asyncio.run_coroutine_threadsafe(_finish_all(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        self._loop.close()

    def serve(
        self,
        sandbox: str,
        udp: socket.socket,
        tcp: socket.socket,
        networks: Sequence[str],
        forward: bool,
        upstreams: Sequence[str] | None = None,
        open_socket: OpenSocket | None = None,
        forward_single_labels: bool = True,
        links: Sequence[Alias] = (),
    ) -> None:
        """Answer a sandbox on these sockets, which are ours from now on; former ones are closed.

        Args:
            tcp: Listening.
            networks: Ids; the first that knows a name answers for it.
            forward: Ask others what we do not know; else it does not exist.
            upstreams: Addresses of name servers; None takes the host's.
            open_socket: Calls what makes a socket to those, inside the sandbox; None makes them here.
            forward_single_labels: Ask others for the addresses of names without a dot, too. A resolver whose
                ndots is above 0 tries its search list first and asks for such a name only to be sure.
            links: Names that it alone knows.
        """
        forwarder = self._forwarder(upstreams, open_socket)
        view = View(tuple(networks), forward, forward_single_labels, tuple(links))
        served = Served(self._zone, udp, tcp, view, forwarder)
        udp.setblocking(False)
        tcp.setblocking(False)
        with self._lock:
            former = self._served.get(sandbox)
            self._served[sandbox] = served
        # Not waited for: the sockets keep what arrives meanwhile.
        self._loop.call_soon_threadsafe(self._begin, served, former)

    def update(
        self,
        sandbox: str,
        networks: Sequence[str] | None = None,
        forward: bool | None = None,
        links: Sequence[Alias] | None = None,
    ) -> None:
        """Change what a sandbox sees, from the next query on; an unknown sandbox is no error."""
        with self._lock:
            served = self._served.get(sandbox)
            if served is not None:
                view = served.view
                served.view = replace(
                    view,
                    networks=view.networks if networks is None else tuple(networks),
                    forward=view.forward if forward is None else forward,
                    aliases=view.aliases if links is None else tuple(links),
                )

    def ask(self, sandbox: str, upstreams: Sequence[str] | None, open_socket: OpenSocket | None = None) -> None:
        """Ask other servers from the next query on, as serve() says; an unknown sandbox is no error."""
        with self._lock:
            served = self._served.get(sandbox)
            if served is not None:
                served.forwarder = self._forwarder(upstreams, open_socket)

    def _forwarder(self, upstreams: Sequence[str] | None, open_socket: OpenSocket | None) -> Forwarder:
        return self._host if upstreams is None else Forwarder(lambda: upstreams, open_socket)

    def forget(self, sandbox: str) -> None:
        """Stop serving a sandbox and close its sockets, which else keep its namespace alive."""
        with self._lock:
            served = self._served.pop(sandbox, None)
        if served is None:
            return
        if self._thread is None:
            served.close()
        else:
            asyncio.run_coroutine_threadsafe(self._end(served), self._loop).result()

    # --- in the thread ------------------------------------------------------------------------

    def _begin(self, served: Served, former: Served | None) -> None:
        if former is not None:
            self._unwatch(former)
            former.close(keep=(served.udp, served.tcp))
        if served.udp.fileno() >= 0:  # else it was forgotten again meanwhile
            self._loop.add_reader(served.udp, self._datagrams, served)
            self._watch_tcp(served)

    def _watch_tcp(self, served: Served) -> None:
        if served.tcp.fileno() >= 0:
            self._loop.add_reader(served.tcp, self._accept, served)

    async def _end(self, served: Served) -> None:
        self._unwatch(served)
        await asyncio.gather(*served.tasks, return_exceptions=True)
        served.close()

    def _unwatch(self, served: Served) -> None:
        for task in served.tasks:
            task.cancel()
        for watched in (served.udp, served.tcp):
            if watched.fileno() >= 0:
                self._loop.remove_reader(watched)

    def _datagrams(self, served: Served) -> None:
        for _ in range(BURST):
            try:
                query, asker = served.udp.recvfrom(LARGEST_TCP_BYTES)
            except OSError:
                return  # no more; or an answer of ours met a closed port, which is the asker's affair
            reply = served.answer(query, stream=False)
            if reply is not None:
                _send(served.udp, reply, asker)
            elif self._may_spawn(served):
                self._spawn(served, self._forward_datagram(served, query, asker))
            else:
                _send(served.udp, _failure(query), asker)

    async def _forward_datagram(self, served: Served, query: bytes, asker: tuple[str, int]) -> None:
        reply = await served.forwarder.ask(query, stream=False)
        _send(served.udp, reply or _failure(query), asker)

    def _accept(self, served: Served) -> None:
        try:
            connection, _ = served.tcp.accept()
        except BlockingIOError:
            return  # who called has hung up
        except OSError:
            # No descriptor is free. Until one is, the loop would come back here at once, for ever.
            self._loop.remove_reader(served.tcp)
            self._loop.call_later(ACCEPT_AGAIN_AFTER_S, self._watch_tcp, served)
            return
        if not self._may_spawn(served):
            connection.close()
            return
        connection.setblocking(False)
        task = self._spawn(served, self._converse(served, connection))
        # Not in the task itself: one that is cancelled before it began closes nothing.
        task.add_done_callback(lambda _: connection.close())

    async def _converse(self, served: Served, connection: socket.socket) -> None:
        """Answer the queries of a connection, each as soon as its answer is there (RFC 7766 section 6.2.1.1)."""
        one_at_a_time = asyncio.Lock()

        async def send(reply: bytes) -> None:
            async with one_at_a_time, asyncio.timeout(IDLE_S):
                await write_message(connection, reply)

        async def forward(query: bytes) -> None:
            with contextlib.suppress(OSError):
                await send(await served.forwarder.ask(query, stream=True) or _failure(query))

        forwarded: list[asyncio.Task[None]] = []
        with contextlib.suppress(OSError):  # a time-out is one, too
            while query := await asyncio.wait_for(read_message(connection), IDLE_S):
                reply = served.answer(query, stream=True)
                if reply is None and self._may_spawn(served):
                    forwarded = [task for task in forwarded if not task.done()]
                    forwarded.append(self._spawn(served, forward(query)))
                elif reply != b"":
                    await send(reply or _failure(query))
        await asyncio.gather(*forwarded)

    def _may_spawn(self, served: Served) -> bool:
        return len(served.tasks) < TASKS_OF_ONE and self._tasks < TASKS_OF_ALL

    def _spawn(self, served: Served, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks += 1
        served.tasks.add(task)

        def forget(_: asyncio.Task[None]) -> None:
            self._tasks -= 1
            served.tasks.discard(task)

        task.add_done_callback(forget)
        return task


async def _finish_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _send(udp: socket.socket, reply: bytes, asker: tuple[str, int]) -> None:
    # What cannot be sent is lost, as datagrams are; the asker asks again.
    with contextlib.suppress(OSError):
        if reply:
            udp.sendto(reply, asker)


def _failure(query: bytes) -> bytes:
    return bare_answer(read_query(query), dns.rcode.SERVFAIL).reply(query[:2], stream=False)
