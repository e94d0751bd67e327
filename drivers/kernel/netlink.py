"""A netlink socket tied for life to the namespace it was opened in."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from drivers.kernel import nft_message, wire
from drivers.kernel.address import Address, get_addresses, read_address
from drivers.kernel.errors import KernelError
from drivers.kernel.link import Link, get_link, get_links, read_link
from drivers.kernel.namespace import open_in
from drivers.kernel.neighbour import Neighbour, get_neighbours, read_neighbour
from drivers.kernel.route import Route, get_routes, read_route
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/netlink.h; Python's socket module has none of these.
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

# The kernel queues an acknowledgement for each request before the send returns: more than this in
# one datagram could overflow the socket's receive buffer (212,992 bytes, some 800 each).
_BATCH = 128
_BATCH_BYTES = 65_536
_DATAGRAM = 65_536  # the kernel makes none larger than 32 kB
_SENT_AT_ONCE = 65_536  # by a socket of any machine; more only if it is given room
_SO_SNDBUFFORCE = 32  # Source: Linux include/uapi/asm-generic/socket.h
_ERROR = struct.Struct("=i")

T = TypeVar("T")


class Netlink:
    """One netlink socket, tied for life to the namespace it was opened in; safe to use from several threads.

    The namespace is entered only to open the socket, by a thread made for that and then gone, so
    using this class never moves a thread. pyroute2 gives us no socket: its IPRoute keeps one for
    each calling thread, so one opened in this namespace would silently speak to the host's from
    any other thread.

    Args:
        netns: None is the calling thread's own namespace.
    """

    def __init__(self, netns: Path | None = None, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = open_in(netns, lambda: _open(protocol))
        self._lock = threading.Lock()
        self._sequence = 0

    def apply(self, requests: Sequence[Request]) -> None:
        """Send requests in one datagram; the kernel handles them in order.

        Raises:
            KernelError: The first refusal, with the kernel's own sentence (ext_ack) and what was
                asked. Later requests still ran.
        """
        first: KernelError | None = None
        for batch in _batches(requests):
            refusals = self._send(batch)
            first = first or next(refusals, None)
        if first is not None:
            raise first

    def attempt(self, requests: Sequence[Request]) -> list[KernelError]:
        """Like apply(), for teardown: every refusal is returned and none raised."""
        return [refusal for batch in _batches(requests) for refusal in self._send(batch)]

    def transact(self, requests: Sequence[Request]) -> None:
        """Send requests to nf_tables as one transaction; the socket is one of NETLINK_NETFILTER.

        Raises:
            KernelError: The first refusal. Then none of them did anything.
        """
        begin, end = nft_message.envelope()
        with self._lock:
            # Older kernels acknowledge neither the first nor the last, asked or not.
            # Source: Linux net/netfilter/nfnetlink.c, nfnetlink_rcv_batch().
            packed = [self._pack(begin, wire.NLM_F_REQUEST)]
            first = self._sequence + 1
            packed += [self._pack(request, wire.NLM_F_REQUEST | wire.NLM_F_ACK) for request in requests]
            packed.append(self._pack(end, wire.NLM_F_REQUEST))
            message = b"".join(packed)
            if len(message) > _SENT_AT_ONCE:  # thousands of published ports
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(message))
            self._socket.send(message)
            refusals = self._acknowledgements(requests, first, begun=True)
        if refusals:
            raise refusals[0]

    def get(self, request: Request, read: Callable[[int, memoryview], T | None]) -> list[T]:
        """Send a question and read every answer; those that read() makes None of are left out.

        Raises:
            KernelError: The kernel refused.
        """
        while True:
            with self._lock:
                answers, interrupted = self._ask(request, read)
            # A dump that changed under the kernel's feet may lack entries or hold some twice.
            if not interrupted:
                return answers

    def links(self) -> list[Link]:
        return self.get(get_links(), read_link)

    def link(self, name: str) -> Link | None:
        """The link of that name, or None."""
        try:
            return next(iter(self.get(get_link(name), read_link)), None)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def index(self, name: str) -> int:
        """The link's index.

        Raises:
            KernelError: There is no such link (ENODEV).
        """
        return self.get(get_link(name), read_link)[0].index

    def addresses(self) -> list[Address]:
        return self.get(get_addresses(), read_address)

    def routes(self) -> list[Route]:
        """Unicast routes of the main table, both families."""
        return self.get(get_routes(), read_route)

    def neighbours(self) -> list[Neighbour]:
        return self.get(get_neighbours(), read_neighbour)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, batch: Sequence[Request]) -> Iterator[KernelError]:
        with self._lock:
            first = self._sequence + 1
            flags = wire.NLM_F_REQUEST | wire.NLM_F_ACK
            self._socket.send(b"".join([self._pack(request, flags) for request in batch]))
            refusals = self._acknowledgements(batch, first)
        return iter(refusals)

    def _pack(self, request: Request, flags: int) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        length = wire.HEADER.size + len(request.body)
        header = wire.HEADER.pack(length, request.type, request.flags | flags, self._sequence, 0)
        return header + request.body + b"\0" * (-length % 4)

    def _acknowledgements(self, batch: Sequence[Request], first: int, *, begun: bool = False) -> list[KernelError]:
        refusals = []
        waiting = len(batch)
        while waiting:
            for kind, flags, sequence, payload in wire.messages(self._receive()):
                position = (sequence - first) & 0xFFFFFFFF
                if kind == wire.NLMSG_ERROR and sequence == first - 1 and begun:
                    refusal = _refusal(batch[0], flags, payload)
                    if refusal is not None:
                        return [refusal]  # of a transaction as a whole: there may be no other answer
                if kind != wire.NLMSG_ERROR or position >= len(batch):
                    continue  # the rest of an answer that was given up
                waiting -= 1
                request = batch[position]
                refusal = _refusal(request, flags, payload)
                if refusal is not None and refusal.errno not in request.harmless:
                    refusals.append(refusal)
        return refusals

    def _ask(self, request: Request, read: Callable[[int, memoryview], T | None]) -> tuple[list[T], bool]:
        dump = request.flags & wire.NLM_F_DUMP == wire.NLM_F_DUMP
        message = self._pack(request, wire.NLM_F_REQUEST if dump else wire.NLM_F_REQUEST | wire.NLM_F_ACK)
        self._socket.send(message)
        answers: list[T] = []
        interrupted = False
        while True:
            for kind, flags, sequence, payload in wire.messages(self._receive()):
                if sequence != self._sequence:
                    continue
                interrupted = interrupted or bool(flags & wire.NLM_F_DUMP_INTR)
                if kind in (wire.NLMSG_ERROR, wire.NLMSG_DONE):
                    refusal = _refusal(request, flags, payload)
                    if refusal is not None:
                        raise refusal
                    return answers, interrupted
                answer = read(kind, payload)
                if answer is not None:
                    answers.append(answer)

    def _receive(self) -> memoryview:
        # A buffer of its own would cost every sandbox's socket 64 kB; this one is returned at once.
        return memoryview(self._socket.recv(_DATAGRAM))


def _open(protocol: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        opened.bind((0, 0))
    except BaseException:
        opened.close()
        raise
    return opened


def _batches(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    batch: list[Request] = []
    size = 0
    for request in requests:
        if batch and (len(batch) == _BATCH or size + len(request.body) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += len(request.body)
    if batch:
        yield batch


def _refusal(request: Request, flags: int, payload: memoryview) -> KernelError | None:
    # Source: Linux net/netlink/af_netlink.c, netlink_ack(): with CAP_ACK only the header of the
    # request follows the error, then the attributes; the end of a dump carries no header.
    if len(payload) < _ERROR.size:
        return None
    number = -_ERROR.unpack_from(payload)[0]
    if number <= 0:
        return None
    told = wire.attributes(payload, _ERROR.size + wire.HEADER.size) if flags & wire.NLM_F_ACK_TLVS else {}
    return KernelError(number, request.asked, wire.to_text(told.get(wire.NLMSGERR_ATTR_MSG)))
