"""Sockets inside a sandbox.

Raw IP sockets do nearly all: a connected one picks the source address as any program's would, sends
what we hand it through the sandbox's own routing, neighbours and firewall, and gets the ICMP errors
about it in its error queue. A raw socket on the far side sees exactly what passed the target's own
firewall (the kernel hands it copies after the input hook: net/ipv4/ip_input.c,
ip_protocol_deliver_rcu); a packet socket there sees what came in on its links before that.
"""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from time import time

from drivers.kernel.namespace import open_in
from netmodel.probe.filter import Layout, attach
from netmodel.probe.probe import IPAddress, Probe

# Of linux/in.h, linux/in6.h, linux/icmp.h, linux/if_ether.h, linux/rtnetlink.h; Python does not name them.
IP_RECVERR, IPV6_RECVERR = 11, 25
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
ICMP_FILTER, ICMPV6_FILTER = 1, 1
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
RTMGRP_LINK, RTMGRP_NEIGH = 0x1, 0x4
RTMGRP_IPV4 = 0x10 | 0x40  # addresses and routes
RTMGRP_IPV6 = 0x100 | 0x400

PROTOCOLS = {
    ("icmp", 4): socket.IPPROTO_ICMP,
    ("icmp", 6): socket.IPPROTO_ICMPV6,
    ("tcp", 4): socket.IPPROTO_TCP,
    ("tcp", 6): socket.IPPROTO_TCP,
    ("udp", 4): socket.IPPROTO_UDP,
    ("udp", 6): socket.IPPROTO_UDP,
}
_LAYOUTS: dict[int, Layout] = {4: "ipv4", 6: "transport"}  # of raw sockets


def allow_many_sockets() -> None:
    """Raise this process's soft limit on descriptors to its hard one: most machines give 1,024 unasked."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def family_of(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def asking(netns: Path | None, probe: Probe, target: IPAddress) -> socket.socket:
    """A raw socket that sends the probe to the target and hears what comes back from it alone.

    Raises:
        OSError: The sandbox has no route to the target.
    """

    def make() -> socket.socket:
        sock = _hearing(probe, target.version)
        try:
            sock.connect((str(target), 0))
        except OSError:
            sock.close()
            raise
        return sock

    return open_in(netns, make)


def asking_all(netns: Path | None, probe: Probe, family: int) -> socket.socket:
    """A raw socket that sends the probe to any target and hears all answers; thousands may be queued."""

    def make() -> socket.socket:
        sock = _hearing(probe, family)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        return sock

    return open_in(netns, make)


def _hearing(probe: Probe, family: int) -> socket.socket:
    protocol = PROTOCOLS[probe.protocol, family]
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    sock = socket.socket(domain, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    if family == 4:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    attach(sock, _LAYOUTS[family], protocol, probe.tests_of_answers(family))
    return sock


def sources_for(netns: Path | None, targets: Iterable[IPAddress]) -> dict[IPAddress, IPAddress | OSError]:
    """The source address the kernel would choose for each target, or why it has none."""

    def choose() -> dict[IPAddress, IPAddress | OSError]:
        chosen: dict[IPAddress, IPAddress | OSError] = {}
        for target in targets:
            with socket.socket(family_of(target), socket.SOCK_DGRAM) as sock:
                try:
                    sock.connect((str(target), 9))
                    chosen[target] = source_of(sock)
                except OSError as error:
                    chosen[target] = error
        return chosen

    return open_in(netns, choose)


def source_of(sock: socket.socket) -> IPAddress:
    """The source address the kernel chose for a connected socket."""
    return ip_address(sock.getsockname()[0].partition("%")[0])


def reserve(netns: Path | None, probe: Probe, source: IPAddress) -> socket.socket:
    """Bind a source port for one attempt, so that nobody else in the sandbox uses it meanwhile.

    Args:
        source: May be the unspecified address, for all of them.
    """
    kind = socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM

    def make() -> socket.socket:
        sock = socket.socket(family_of(source), kind)
        sock.bind((str(source), 0))
        return sock

    return open_in(netns, make)


def has_address(netns: Path | None, address: IPAddress) -> bool:
    """Whether one of the sandbox's links has the address."""

    def try_it() -> bool:
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((str(address), 0))
            except OSError:
                return False
            return True

    return open_in(netns, try_it)


def delivered(netns: Path | None, probe: Probe, family: int) -> socket.socket:
    """A raw socket that sees the probe's questions once they are past the sandbox's own firewall."""

    def make() -> socket.socket:
        domain = socket.AF_INET if family == 4 else socket.AF_INET6
        protocol = PROTOCOLS[probe.protocol, family]
        sock = socket.socket(domain, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        attach(sock, _LAYOUTS[family], protocol, probe.tests_of_questions(family))
        return sock

    return open_in(netns, make)


def arrived(netns: Path | None, probe: Probe, family: int) -> socket.socket:
    """A packet socket that sees the probe's questions on any link of the sandbox, its firewall not yet asked."""

    def make() -> socket.socket:
        ethertype = ETH_P_IP if family == 4 else ETH_P_IPV6
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ethertype))
        protocol = PROTOCOLS[probe.protocol, family]
        attach(sock, "ipv4" if family == 4 else "ipv6", protocol, probe.tests_of_questions(family))
        return sock

    return open_in(netns, make)


def changes(netns: Path | None) -> socket.socket:
    """A netlink socket that becomes readable when a link, an address or a route of the sandbox changes.

    What changed does not matter here: it is a reason to try again at once.
    """

    def make() -> socket.socket:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        sock.bind((0, RTMGRP_LINK | RTMGRP_IPV4 | RTMGRP_IPV6))
        return sock

    return open_in(netns, make)


def received_at(ancillary: Sequence[tuple[int, int, bytes]]) -> float:
    """When the kernel took the packet in, as time() counts: many probes at once keep Python from looking in time."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("@qq", data)
            return float(seconds + nanoseconds / 1e9)
    return time()


def transport(packet: bytes, family: int, *, with_header: bool) -> bytes:
    """What is above the IP header; b"" for a fragment or something shorter than its own header says."""
    if family == 6:
        return packet[40:] if with_header else packet
    if len(packet) < 20 or struct.unpack_from("!H", packet, 6)[0] & 0x1FFF:
        return b""
    return packet[(packet[0] & 0x0F) * 4 :]
