"""Links that stand on another one (macvlan, ipvlan, VLAN), and those that lead nowhere (dummy, ifb)."""

from __future__ import annotations

import errno

from drivers.kernel import wire
from drivers.kernel.errors import KernelError
from drivers.kernel.link import (
    IFINFOMSG_BYTES,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    RTM_NEWLINK,
    change,
    new_link,
)
from drivers.kernel.netlink import Netlink
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/if_link.h, if_vlan.h.
IFLA_MACVLAN_MODE = 1
IFLA_IPVLAN_MODE, IFLA_IPVLAN_FLAGS = 1, 2
IFLA_VLAN_ID = 1
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}


def add_macvlan(name: str, parent: int, mode: str, netns_fd: int, mac: str, mtu: int = 0) -> Request:
    """Make a macvlan on a link of ours, in its namespace from the start.

    Like: ip link add NAME link PARENT netns NETNS address MAC type macvlan mode MODE
    """
    settings = wire.u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    return _sub_link("macvlan", name, parent, settings, netns_fd=netns_fd, mac=mac, mtu=mtu)


def add_ipvlan(name: str, parent: int, mode: str, flag: str, netns_fd: int, mtu: int = 0) -> Request:
    """Make an ipvlan on a link of ours, in its namespace from the start; its MAC is the parent's.

    Like: ip link add NAME link PARENT netns NETNS type ipvlan mode MODE FLAG
    """
    settings = wire.u16(IFLA_IPVLAN_MODE, IPVLAN_MODES[mode]) + wire.u16(IFLA_IPVLAN_FLAGS, IPVLAN_FLAGS[flag])
    return _sub_link("ipvlan", name, parent, settings, netns_fd=netns_fd, mtu=mtu)


def add_vlan(name: str, parent: int, vlan: int, *, master: int = 0) -> Request:
    """Make the link of one VLAN of another link; several on one link must differ in their number."""
    return _sub_link("vlan", name, parent, wire.u16(IFLA_VLAN_ID, vlan), master=master)


def read_vlan(kind: int, payload: memoryview) -> int | None:
    """For Netlink.get(get_link(...)): the number of a VLAN's link; None for any other kind of link."""
    if kind != RTM_NEWLINK:
        return None
    info = wire.attributes(wire.attributes(payload, IFINFOMSG_BYTES).get(IFLA_LINKINFO, b""))
    if wire.to_text(info.get(IFLA_INFO_KIND)) != "vlan":
        return None
    told = wire.attributes(info.get(IFLA_INFO_DATA, b"")).get(IFLA_VLAN_ID, b"\0\0")
    return int.from_bytes(told[:2], "little")


def add_sink(name: str, kind: str) -> Request:
    """Make a link that drops what is sent by it: kind is "dummy", or "ifb", which does the same by itself."""
    return new_link(
        f"make the {kind} link {name}",
        [wire.text(IFLA_IFNAME, name), wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, kind))],
    )


def move_link(index: int, name: str, netns_fd: int, mac: str = "") -> Request:
    """Move a link into another namespace under a new name; it arrives down and without addresses.

    Costs the kernel's grace periods (25 ms on a 2-core VM), so links are made where they belong
    wherever that is known.
    """
    attributes = [wire.text(IFLA_IFNAME, name), wire.u32(IFLA_NET_NS_FD, netns_fd)]
    if mac:
        attributes.append(wire.mac(IFLA_ADDRESS, mac))
    return change(index, f"move link {index} to another namespace as {name}", attributes)


def knows_kind(netlink: Netlink, kind: str) -> bool:
    """Whether the kernel can make links of a kind that stand on another, asked for without making one."""
    # Source: Linux net/core/rtnetlink.c, rtnl_newlink(): EOPNOTSUPP for an unknown kind; the kinds
    # themselves (macvlan_common_newlink(), ipvlan_link_new()) refuse to stand on nothing with EINVAL.
    info = wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, kind))
    refusals = netlink.attempt([new_link(f"make a {kind} link on nothing", [wire.text(IFLA_IFNAME, "nmprobe"), info])])
    return not any(is_unknown_kind(refusal) for refusal in refusals)


def is_unknown_kind(error: KernelError) -> bool:
    """Whether the kernel refused to make a link because it has no such kind."""
    return error.errno == errno.EOPNOTSUPP


def _sub_link(
    kind: str,
    name: str,
    parent: int,
    settings: bytes,
    netns_fd: int | None = None,
    mac: str = "",
    mtu: int = 0,
    master: int = 0,
) -> Request:
    info = wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, kind), wire.nested(IFLA_INFO_DATA, settings))
    own = [wire.text(IFLA_IFNAME, name), wire.u32(IFLA_LINK, parent), info]
    if netns_fd is not None:
        own.append(wire.u32(IFLA_NET_NS_FD, netns_fd))
    if mac:
        own.append(wire.mac(IFLA_ADDRESS, mac))
    if mtu:
        own.append(wire.u32(IFLA_MTU, mtu))
    if master:
        own.append(wire.u32(IFLA_MASTER, master))
    return new_link(f"make the {kind} link {name}", own)
