"""Bridges and the settings of their ports."""

from __future__ import annotations

from drivers.kernel import wire
from drivers.kernel.link import (
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    change,
    linkinfo_of_port,
    new_link,
)
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/if_link.h.
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE = 1, 5
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33


def add_bridge(name: str, mac: str = "", mtu: int = 0) -> Request:
    """Make a bridge that forwards from the first frame: no spanning tree, no delay.

    Args:
        mac: Given, it stays; else the bridge takes that of its ports and changes with them.
    """
    own = [wire.text(IFLA_IFNAME, name)]
    if mac:
        own.append(wire.mac(IFLA_ADDRESS, mac))
    if mtu:
        own.append(wire.u32(IFLA_MTU, mtu))
    settings = wire.nested(IFLA_INFO_DATA, wire.u32(IFLA_BR_FORWARD_DELAY, 0), wire.u32(IFLA_BR_STP_STATE, 0))
    own.append(wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, "bridge"), settings))
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
