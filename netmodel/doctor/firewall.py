"""Rules of every sort that the drivers use."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from drivers.kernel.errors import KernelError
from drivers.kernel.namespace import new_namespace
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.surroundings import A_BRIDGE, look_around
from netmodel.doctor.finding import Finding, tried

_NETLINK_NETFILTER = 12

# What is tried, a table with it, whether anything works without it, and the loss.
_TABLES: tuple[tuple[str, str, bool, str], ...] = (
    (
        "inet family",
        "inet p1 { chain c { type filter hook forward priority 0; ct state established accept; }; }",
        True,
        "networks can be neither isolated nor protected, so none is made",
    ),
    (
        "nat",
        "inet p2 { chain c { type nat hook postrouting priority 100; masquerade; }; }",
        True,
        "containers reach nothing outside their networks, and no port is published",
    ),
    (
        "maps",
        """inet p3 {
            map m { type inet_proto . inet_service : ipv4_addr . inet_service; };
            chain c { type nat hook prerouting priority -100; dnat ip to meta l4proto . th dport map @m; };
        }""",
        True,
        "no port can be published",
    ),
    (
        "fib",
        "inet p4 { chain c { type nat hook prerouting priority -100; fib daddr type local accept; }; }",
        True,
        "published ports cannot be told from traffic that only passes",
    ),
    (
        "bridge family",
        "bridge p5 { chain c { type filter hook forward priority 0; }; }",
        False,
        "frames between containers of one network cannot be filtered",
    ),
    (
        "netdev family",
        'netdev p6 { chain c { type filter hook ingress device "lo" priority 0; }; }',
        False,
        "traffic cannot be filtered before the host sees it",
    ),
    (
        "flow tables",
        'inet p7 { flowtable f { hook ingress priority 0; devices = { "lo" }; }; }',
        False,
        "established connections cannot take the short way through the host",
    ),
)


def firewall() -> Iterator[Finding]:
    """Load each table by the library that the engine uses, in a namespace that dies with its descriptor."""
    try:
        # libnftables ends its process where the kernel has no netfilter, so that is asked first.
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER).close()
        descriptor = new_namespace()
    except OSError as error:
        yield tried("firewall", "nftables", str(error), _TABLES[0][3], needed=True)
        return
    worker = NftWorker()
    try:
        namespace = Path(f"/proc/self/fd/{descriptor}")
        for feature, table, needed, cost in _TABLES:
            why = ""
            try:
                worker.run(f"table {table}\n", namespace)
            except KernelError as error:
                why = error.sentence or os.strerror(error.errno or 0)
                if error.errno == errno.EPIPE:  # it died at once, or would at every other table as well
                    cost = "no network can be made: apt install libnftables1"
                    yield tried("firewall", "libnftables", "cannot be loaded", cost, needed=True)
                    return
            yield tried("firewall", feature, why, cost, needed)
        yield Finding(area="firewall", feature="libnftables", ok=True, detail="loaded, in a process of its own")
        yield from _others(worker)
    finally:
        worker.close()
        os.close(descriptor)


def _others(worker: NftWorker) -> Iterator[Finding]:
    """What the rules of others (ufw, firewalld, nftables.conf) mean for containers."""
    with Netlink() as host:
        seen = look_around(worker, host)
    for feature, found, cost in (
        ("published ports", seen.of_any_port(), "nobody outside reaches published ports"),
        ("way out", seen.of_way_out(A_BRIDGE), "containers reach nothing outside the host"),
    ):
        if found.state == "open":
            yield Finding(area="firewall", feature=feature, ok=True, detail="no rule of others is in the way")
            continue
        some = "" if found.state == "blocked" else "some of this only: "
        yield Finding(
            area="firewall",
            feature=feature,
            ok=False,
            detail=f"{'blocked' if not some else 'blocked in part'} by {found.why}",
            cost=f"{some}{cost}; let that chain accept it: {_REMEDY[feature]}",
        )


_REMEDY = {
    "published ports": "ct status dnat accept",
    "way out": 'iifname "br-*" accept, ct state established accept',
}
