"""Links, queueing disciplines, and what the host's own network is set to."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from drivers.kernel import link, wire
from drivers.kernel.bridge import add_bridge, locks_ports
from drivers.kernel.errors import KernelError
from drivers.kernel.namespace import new_namespace
from drivers.kernel.netlink import Netlink
from netmodel.doctor.finding import Finding, number, tried


def _nested_link(kind: str, *settings: bytes, parent: int = 0) -> wire.Request:
    info = [wire.text(link.IFLA_INFO_KIND, kind)]
    if settings:
        info.append(wire.nested(link.IFLA_INFO_DATA, *settings))
    own = [wire.text(link.IFLA_IFNAME, f"p-{kind}"), wire.nested(link.IFLA_LINKINFO, *info)]
    if parent:
        own.append(wire.u32(link.IFLA_LINK, parent))
    return link.new_link(f"make a {kind} link", own)


# Kind, the one setting it cannot be made without, the link it stands on, and the loss. macvlan and ipvlan
# cannot share one: each wants all the frames that arrive on it.
# Source: Linux include/uapi/linux/if_link.h.
_VLAN_ID, _MACVLAN_MODE, _IPVLAN_MODE, _VRF_TABLE, _VXLAN_ID = 1, 1, 1, 1, 1
_LINKS: tuple[tuple[str, bytes, str, str], ...] = (
    ("macvlan", wire.u32(_MACVLAN_MODE, 4), "p-veth", "networks with driver macvlan are refused"),
    ("ipvlan", wire.u16(_IPVLAN_MODE, 0), "p-peer", "networks with driver ipvlan are refused"),
    ("vlan", wire.u16(_VLAN_ID, 7), "p-veth", "parents like eth0.7 cannot be made"),
    ("vxlan", wire.u32(_VXLAN_ID, 7), "", "networks that span hosts are refused"),
    ("vrf", wire.u32(_VRF_TABLE, 7), "", "no network can be in a VRF, and programs in containers cannot make one"),
    ("dummy", b"", "", "programs in containers cannot make a dummy link; a bridge without ports serves as well"),
    ("wireguard", b"", "", "programs in containers cannot make a tunnel by the kernel; one in user space may do"),
    ("ifb", b"", "", "traffic that arrives cannot be shaped, only traffic that leaves"),
)
_QDISCS = (
    ("netem", "delay, loss and reordering cannot be declared"),
    ("tbf", "rates cannot be declared"),
    ("htb", "rates of single flows cannot be declared"),
)
_RTM_NEWQDISC = 36
_TCA_KIND = 1
_TC_H_ROOT = 0xFFFFFFFF


def network() -> Iterator[Finding]:
    """Links and queueing disciplines, made in a namespace that dies with its descriptor."""
    try:
        descriptor = new_namespace()
    except KernelError as error:
        yield tried("network", "links", str(error), "no container can have a network of its own", needed=True)
        return
    try:
        with Netlink(Path(f"/proc/self/fd/{descriptor}")) as netlink:
            yield from _links(netlink)
            yield from _qdiscs(netlink)
    finally:
        os.close(descriptor)
    yield from _settings()


def _links(netlink: Netlink) -> Iterator[Finding]:
    pair = _refusal(netlink, link.add_veth("p-veth", "p-peer", None))
    yield tried("network", "veth", pair, "no container can be attached to a network", needed=True)
    cost = "networks with driver bridge, the default, are refused"
    yield tried("network", "bridge", _refusal(netlink, add_bridge("p-bridge")), cost, needed=True)
    yield from _bridges(netlink)
    for kind, setting, on, cost in _LINKS:
        settings = (setting,) if setting else ()
        parent = netlink.link(on) if on else None
        request = _nested_link(kind, *settings, parent=parent.index if parent else 0)
        yield tried("network", kind, _refusal(netlink, request), cost)


def _bridges(netlink: Netlink) -> Iterator[Finding]:
    lock = "" if locks_ports(netlink) else "not in the kernel"
    yield tried("network", "bridge port lock", lock, "networks with netmodel.bridge.mac_check are refused")
    vlans = _refusal(netlink, add_bridge("p-vlans", default_vlan=7))
    yield tried("network", "bridge VLANs", vlans, "networks with netmodel.bridge.vlan are refused")


def _qdiscs(netlink: Netlink) -> Iterator[Finding]:
    target = netlink.link("p-veth")
    if target is None:
        return
    for kind, cost in _QDISCS:
        # family, index, handle, parent, info: without options a kind that exists asks for them (EINVAL)
        # and one that does not is not found (ENOENT), so nothing need be known about any of them.
        body = struct.pack("=IiIII", 0, target.index, 0, _TC_H_ROOT, 0) + wire.text(_TCA_KIND, kind)
        request = wire.Request(_RTM_NEWQDISC, f"use {kind}", wire.CREATE_ONLY, body, (errno.EINVAL, errno.EEXIST))
        yield tried("network", kind, _refusal(netlink, request), cost)


def _settings() -> Iterator[Finding]:
    """What the host's own network is set to; none of it is wrong."""
    forwarding = number("/proc/sys/net/ipv4/ip_forward")
    detail = "on" if forwarding else "off: the engine turns it on with its first network"
    yield Finding(area="network", feature="ip_forward", ok=forwarding is not None, detail=detail)
    filtered = number("/proc/sys/net/bridge/bridge-nf-call-iptables")
    words = {None: "not in the kernel", 0: "off", 1: "on: frames between containers pass the host's rules, too"}
    yield Finding(area="network", feature="br_netfilter", ok=True, detail=words.get(filtered, str(filtered)))
    ipv6 = os.path.exists("/proc/net/if_inet6")
    cost = "" if ipv6 else "networks with enable_ipv6 are refused"
    yield Finding(area="network", feature="IPv6", ok=ipv6, detail="there" if ipv6 else "not in the kernel", cost=cost)


def _refusal(netlink: Netlink, request: wire.Request) -> str:
    try:
        netlink.apply([request])
    except KernelError as error:
        return error.sentence or os.strerror(error.errno or 0)
    return ""
