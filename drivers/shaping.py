"""How fast an endpoint may receive and send, by token buckets at the host's end of its link.

At the host's end, where nobody in the container may change them. What the host's end sends, the
container receives; what it receives goes through the queue of a link made for that first (ifb).
"""

from __future__ import annotations

import errno

from drivers.endpoint_options import EndpointOptions, Limit
from drivers.errors import DriverError
from drivers.kernel.errors import KernelError
from drivers.kernel.link import alias, change, no_link_local, set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.qdisc import Bucket, add_ifb, limit_rate, redirect_received

_FRAME = 18  # bytes of a frame that are not of its packet: its header, with a VLAN's
_LONGEST_WAIT_S = 0.025  # CNI's figure: what would wait longer is dropped
_BURST_S, _LEAST_BURST = 0.01, 16 * 1024


class MissingQueue(DriverError):
    """A queueing discipline, or what belongs to it, that this kernel has not."""

    kind = "missing_feature"
    hint = "it would need CONFIG_NET_SCH_TBF, NET_SCH_INGRESS, NET_CLS_U32, NET_ACT_MIRRED and IFB"

    def __init__(self, error: KernelError) -> None:
        super().__init__(f"this kernel cannot limit the rate of an endpoint: {error}")


def shape(host: Netlink, link: str, through: str, tag: str, options: EndpointOptions, mtu: int) -> None:
    """Limit an endpoint's rates.

    Args:
        link: The host's end of its link.
        through: Name of the link that is made where it sends under a limit.
        tag: Marks that as ours.
        mtu: Of its network, in bytes.

    Raises:
        MissingQueue: The kernel knows of no such thing.
    """
    try:
        index = host.index(link)
        if options.ingress is not None:
            host.apply([limit_rate(index, _bucket(options.ingress, mtu))])
        if options.egress is not None:
            # One datagram: nothing can stop us between making the link and tagging it as ours.
            host.apply([add_ifb(through, mtu), change(through, f"tag link {through}", [alias(tag)])])
            ifb = host.index(through)
            host.apply([no_link_local(ifb), set_up(ifb), limit_rate(ifb, _bucket(options.egress, mtu))])
            host.apply(redirect_received(index, ifb))
    except KernelError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            raise MissingQueue(error) from error
        raise


def _bucket(limit: Limit, mtu: int) -> Bucket:
    rate = limit.rate // 8
    burst = limit.burst or max(int(rate * _BURST_S), _LEAST_BURST)
    burst = max(burst, mtu + _FRAME)  # a packet larger than that would never pass
    return Bucket(rate=rate, burst=burst, queue=burst + int(rate * _LONGEST_WAIT_S))
