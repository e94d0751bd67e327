"""Queues of a link: a token bucket for what it sends, and the way of what it receives to another link's queue."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

from drivers.kernel import wire
from drivers.kernel.link import IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, new_link
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h and tc_act/tc_mirred.h.
RTM_NEWQDISC, RTM_GETQDISC, RTM_NEWTFILTER = 36, 38, 44
_TCA_KIND, _TCA_OPTIONS, _TCA_STATS2 = 1, 2, 7
_TCA_STATS_BASIC, _TCA_STATS_QUEUE = 1, 3
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS, _TCA_MIRRED_PARMS = 1, 2, 2
_ROOT, _INGRESS, _INGRESS_HANDLE = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: the kernel works times out itself and wants no table of them
_TERMINAL = 1  # TC_U32_TERMINAL
_STOLEN, _EGRESS_REDIRECT = 4, 1
_PRIORITY = 1
_ETH_P_ALL = 0x0003

_TCMSG = struct.Struct("=BxxxiIII")  # family, link, handle, parent, info
_RATE = struct.Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, bytes/s
_TBF = struct.Struct("=III")  # limit, buffer, mtu, after rate and peak rate
_U32_SEL = struct.Struct("=BBBxHHhhI")
_U32_KEY = struct.Struct("=IIii")
_MIRRED = struct.Struct("=IIiiiiI")
_BASIC, _QUEUE = struct.Struct("=QI"), struct.Struct("=IIIII")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Args:
    rate: Bytes a second.
    burst: Bytes that may pass at once after a pause.
    queue: Bytes that may wait; what comes beyond is dropped.
    """

    rate: int
    burst: int
    queue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What a link's own queue has seen; packets and bytes as of their sending.

    Args:
        over_limit: How often something had to wait.
    """

    kind: str
    link: int
    bytes: int
    packets: int
    dropped: int
    over_limit: int


def limit_rate(link: int, bucket: Bucket) -> Request:
    """Let a link send no faster; what it had as a queue before is replaced.

    Like: tc qdisc replace dev LINK root tbf rate RATE burst BURST limit QUEUE
    """
    slow = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(bucket.rate, 0xFFFFFFFF))
    none = _RATE.pack(0, 0, 0, 0, 0, 0)
    options = [
        wire.attribute(_TCA_TBF_PARMS, slow + none + _TBF.pack(bucket.queue, 0, 0)),
        wire.u32(_TCA_TBF_BURST, bucket.burst),
    ]
    if bucket.rate > 0xFFFFFFFF:
        options.append(wire.attribute(_TCA_TBF_RATE64, struct.pack("=Q", bucket.rate)))
    body = _TCMSG.pack(0, link, 0, _ROOT, 0) + wire.text(_TCA_KIND, "tbf") + wire.nested(_TCA_OPTIONS, *options)
    return Request(RTM_NEWQDISC, f"limit the rate of link {link}", wire.CREATE_OR_REPLACE, body)


def add_ifb(name: str, mtu: int) -> Request:
    """Make a link that gives back what is sent to it as received where it came from, after its queue."""
    kind = wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, "ifb"))
    return new_link(f"make the link {name}", [wire.text(IFLA_IFNAME, name), wire.u32(IFLA_MTU, mtu), kind])


def redirect_received(link: int, through: int) -> list[Request]:
    """Send all that a link receives through another link (ifb) first.

    Like: tc qdisc add dev LINK ingress; tc filter add dev LINK ingress u32 match u32 0 0 action mirred egress redirect
    dev THROUGH. Not matchall, which not every kernel has.
    """
    qdisc = _TCMSG.pack(0, link, _INGRESS_HANDLE, _INGRESS, 0) + wire.text(_TCA_KIND, "ingress")
    everything = _U32_SEL.pack(_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + _U32_KEY.pack(0, 0, 0, 0)
    redirect = wire.attribute(_TCA_MIRRED_PARMS, _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, through))
    action = wire.nested(1, wire.text(_TCA_ACT_KIND, "mirred"), wire.nested(_TCA_ACT_OPTIONS, redirect))
    options = (wire.attribute(_TCA_U32_SEL, everything), wire.nested(_TCA_U32_ACT, action))
    info = _PRIORITY << 16 | socket.htons(_ETH_P_ALL)
    rule = _TCMSG.pack(0, link, 0, _INGRESS_HANDLE, info) + wire.text(_TCA_KIND, "u32")
    asked = f"redirect what link {link} receives to link {through}"
    return [
        Request(RTM_NEWQDISC, asked, wire.CREATE_ONLY, qdisc, (errno.EEXIST,)),
        Request(RTM_NEWTFILTER, asked, wire.CREATE_ONLY, rule + wire.nested(_TCA_OPTIONS, *options), (errno.EEXIST,)),
    ]


def get_queues() -> Request:
    return Request(RTM_GETQDISC, "list queues", wire.NLM_F_DUMP, _TCMSG.pack(0, 0, 0, 0, 0))


def read_queue(kind: int, payload: memoryview) -> Queue | None:
    if kind != RTM_NEWQDISC:
        return None
    _family, link, _handle, _parent, _info = _TCMSG.unpack_from(payload)
    found = wire.attributes(payload, _TCMSG.size)
    statistics = wire.attributes(found.get(_TCA_STATS2, b""))
    sent, packets = _BASIC.unpack_from(statistics[_TCA_STATS_BASIC])
    _length, _backlog, dropped, _requeued, over_limit = _QUEUE.unpack_from(statistics[_TCA_STATS_QUEUE])
    return Queue(
        kind=wire.to_text(found.get(_TCA_KIND)),
        link=link,
        bytes=sent,
        packets=packets,
        dropped=dropped,
        over_limit=over_limit,
    )
