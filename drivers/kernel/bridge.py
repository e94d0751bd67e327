"""Bridges and the settings of their ports."""

from __future__ import annotations

from drivers.kernel import wire
from drivers.kernel.link import (
    IFINFOMSG_BYTES,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_LINKINFO,
    IFLA_MTU,
    RTM_NEWLINK,
    change,
    linkinfo_of_port,
    new_link,
)
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/if_link.h.
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_GROUP_FWD_MASK = 1, 5, 9
IFLA_BRPORT_STATE, IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 1, 4, 33
_BR_STATE_FORWARDING = 3


# The least that the standard allows (net/bridge/br_private_stp.h, BR_MIN_FORWARD_DELAY), in hundredths of a second.
_STP_DELAY = 200


def add_bridge(name: str, mac: str = "", mtu: int = 0, *, stp: bool = False, group_forward_mask: int = 0) -> Request:
    """Make a bridge that forwards from the first frame: no spanning tree, no delay.

    Args:
        mac: Given, it stays; else the bridge takes that of its ports and changes with them.
        stp: Spanning trees after all; a new port then listens and learns for two seconds each.
        group_forward_mask: Bit X forwards frames to 01:80:C2:00:00:0X, which a bridge keeps to itself.
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
    info = wire.nested(IFLA_INFO_DATA, *settings)
    own.append(wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, "bridge"), info))
    return new_link(f"make the bridge {name}", own)


def set_port(link: int | str, *, isolated: bool | None = None, hairpin: bool | None = None) -> Request:
    """Change a bridge port's settings."""
    return change(link, f"set up bridge port {link}", [port_settings(isolated=isolated, hairpin=hairpin)])


def port_settings(*, isolated: bool | None = None, hairpin: bool | None = None) -> bytes:
    """For change(): a bridge port's settings; None leaves one as it is.

    Args:
        isolated: Frames between isolated ports are dropped.
        hairpin: A frame may leave through the port it came from.
    """
    settings = []
    if isolated is not None:
        settings.append(wire.u8(IFLA_BRPORT_ISOLATED, isolated))
    if hairpin is not None:
        settings.append(wire.u8(IFLA_BRPORT_MODE, hairpin))
    return linkinfo_of_port("bridge", *settings)


def is_forwarding(kind: int, payload: memoryview) -> bool | None:
    """For Netlink.get(get_link(...)): whether a port forwards, as spanning tree would have it; None for no port."""
    if kind != RTM_NEWLINK:
        return None
    info = wire.attributes(wire.attributes(payload, IFINFOMSG_BYTES).get(IFLA_LINKINFO, b""))
    state = wire.attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).get(IFLA_BRPORT_STATE)
    return None if state is None else state[0] == _BR_STATE_FORWARDING
