"""Bridges and the settings of their ports."""

from __future__ import annotations

import struct

from drivers.kernel import wire
from drivers.kernel.bridge_vlan import filter_settings
from drivers.kernel.link import (
    IFINFOMSG_BYTES,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_NEWLINK,
    add_veth,
    change,
    get_link,
    linkinfo_of_port,
    new_link,
    set_master,
)
from drivers.kernel.neighbour import NDA_LLADDR, RTM_NEWNEIGH
from drivers.kernel.netlink import Netlink
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/if_link.h, neighbour.h.
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_GROUP_FWD_MASK = 1, 5, 9
IFLA_BRPORT_STATE, IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED, IFLA_BRPORT_LOCKED = 1, 4, 33, 39
NUD_NOARP = 0x40
NTF_MASTER, NTF_STICKY = 0x04, 0x40
_AF_BRIDGE = 7
_BR_STATE_FORWARDING = 3
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type

# The least that the standard allows (net/bridge/br_private_stp.h, BR_MIN_FORWARD_DELAY), in hundredths of a second.
_STP_DELAY = 200


def add_bridge(
    name: str,
    mac: str = "",
    mtu: int = 0,
    *,
    stp: bool = False,
    group_forward_mask: int = 0,
    default_vlan: int | None = None,
    master: int = 0,
) -> Request:
    """Make a bridge that forwards from the first frame: no spanning tree, no delay.

    Args:
        mac: Given, it stays; else the bridge takes that of its ports and changes with them.
        stp: Spanning trees after all; a new port then listens and learns for two seconds each.
        group_forward_mask: Bit X forwards frames to 01:80:C2:00:00:0X, which a bridge keeps to itself.
        default_vlan: The bridge filters VLANs; see filter_settings().
        master: Index of the VRF that it is in.
    """
    own = [wire.text(IFLA_IFNAME, name)]
    if mac:
        own.append(wire.mac(IFLA_ADDRESS, mac))
    if mtu:
        own.append(wire.u32(IFLA_MTU, mtu))
    delay = wire.u32(IFLA_BR_FORWARD_DELAY, _STP_DELAY if stp else 0)
    settings = [delay, wire.u32(IFLA_BR_STP_STATE, stp)]
    if group_forward_mask:
        settings.append(wire.u16(IFLA_BR_GROUP_FWD_MASK, group_forward_mask))
    if default_vlan is not None:
        settings += filter_settings(default_vlan)
    if master:
        own.append(wire.u32(IFLA_MASTER, master))
    info = wire.nested(IFLA_INFO_DATA, *settings)
    own.append(wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, "bridge"), info))
    return new_link(f"make the bridge {name}", own)


def set_port(link: int | str, *, isolated: bool | None = None, hairpin: bool | None = None) -> Request:
    """Change a bridge port's settings."""
    return change(link, f"set up bridge port {link}", [port_settings(isolated=isolated, hairpin=hairpin)])


def port_settings(*, isolated: bool | None = None, hairpin: bool | None = None, locked: bool | None = None) -> bytes:
    """For change(): a bridge port's settings; None leaves one as it is.

    Args:
        isolated: Frames between isolated ports are dropped.
        hairpin: A frame may leave through the port it came from.
        locked: Frames are dropped whose sender is not known to be at this port (add_station()). A
            kernel that knows no such setting passes over it: see is_locked().
    """
    settings = []
    if isolated is not None:
        settings.append(wire.u8(IFLA_BRPORT_ISOLATED, isolated))
    if hairpin is not None:
        settings.append(wire.u8(IFLA_BRPORT_MODE, hairpin))
    if locked is not None:
        settings.append(wire.u8(IFLA_BRPORT_LOCKED, locked))
    return linkinfo_of_port("bridge", *settings)


def add_station(port: int, mac: str) -> Request:
    """Tell the bridge for good that a MAC address is at this port, in every VLAN that the port is in.

    Like: bridge fdb add MAC dev PORT master static sticky
    """
    body = _NDMSG.pack(_AF_BRIDGE, port, NUD_NOARP, NTF_MASTER | NTF_STICKY, 0) + wire.mac(NDA_LLADDR, mac)
    return Request(RTM_NEWNEIGH, f"tell the bridge that {mac} is at port {port}", wire.CREATE_OR_REPLACE, body)


def is_forwarding(kind: int, payload: memoryview) -> bool | None:
    """For Netlink.get(get_link(...)): whether a port forwards, as spanning tree would have it; None for no port."""
    state = _setting(kind, payload, IFLA_BRPORT_STATE)
    return None if state is None else state == _BR_STATE_FORWARDING


def is_locked(kind: int, payload: memoryview) -> bool | None:
    """For Netlink.get(get_link(...)): whether a port is locked; None where the kernel knows no such setting."""
    locked = _setting(kind, payload, IFLA_BRPORT_LOCKED)
    return None if locked is None else bool(locked)


def locks_ports(netlink: Netlink) -> bool:
    """Whether the kernel can lock ports; found out in a namespace that is made for trying."""
    netlink.apply([add_bridge("p-lock"), add_veth("p-port", "p-box", None)])
    netlink.apply([set_master("p-port", netlink.index("p-lock"))])
    return netlink.get(get_link("p-port"), is_locked) == [False]


def _setting(kind: int, payload: memoryview, setting: int) -> int | None:
    if kind != RTM_NEWLINK:
        return None
    info = wire.attributes(wire.attributes(payload, IFINFOMSG_BYTES).get(IFLA_LINKINFO, b""))
    value = wire.attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).get(setting)
    return None if value is None else value[0]
