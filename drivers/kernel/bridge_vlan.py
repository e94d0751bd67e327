"""VLANs of bridges that filter them: which ports are in which, and whether the bridge itself is."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.kernel import wire
from drivers.kernel.link import (
    IFINFOMSG_BYTES,
    IFLA_AF_SPEC,
    IFLA_EXT_MASK,
    IFLA_INFO_DATA,
    IFLA_LINKINFO,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
)
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/if_bridge.h, if_link.h, rtnetlink.h.
RTM_SETLINK = 19
IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_DEFAULT_PVID = 7, 39
IFLA_BRIDGE_FLAGS, IFLA_BRIDGE_VLAN_INFO = 0, 2
BRIDGE_FLAGS_SELF = 2
PVID, UNTAGGED, RANGE_BEGIN, RANGE_END = 2, 4, 8, 16
RTEXT_FILTER_BRVLAN = 2
FIRST, LAST = 1, 4094
_AF_BRIDGE = 7
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_VLAN_INFO = struct.Struct("=HH")  # flags, VLAN


@dataclass(frozen=True, slots=True)
class Membership:
    """Which VLANs a port, or a bridge itself, is in.

    Args:
        link: Its index.
        vlans: By number, each with its flags: PVID takes what arrives without a tag, UNTAGGED leaves so.
    """

    link: int
    vlans: dict[int, int]


def filter_settings(default: int) -> tuple[bytes, bytes]:
    """For a bridge that is being made: it filters VLANs, and is itself in the default one, as is every new port.

    Args:
        default: 0 leaves new ports in none.
    """
    return wire.u8(IFLA_BR_VLAN_FILTERING, 1), wire.u16(IFLA_BR_VLAN_DEFAULT_PVID, default)


def put_into(port: int, vlan: int, tagged: Sequence[tuple[int, int]] = ()) -> list[Request]:
    """Make a port one of this VLAN, in which frames come and leave without a tag, and of no other but the tagged ones.

    Like: bridge vlan del dev PORT vid 1-4094; bridge vlan add dev PORT vid VLAN pvid untagged

    Args:
        tagged: Each from its first to its last; where the VLAN itself is among them it stays untagged.
    """
    out = f"take bridge port {port} out of its VLANs"
    requests = [_change(RTM_DELLINK, out, port, _infos(FIRST, LAST))]
    for first, last in tagged:
        asked = f"put bridge port {port} into VLANs {first} to {last}"
        requests.append(_change(RTM_SETLINK, asked, port, _infos(first, last)))
    own = [_info(PVID | UNTAGGED, vlan)]
    return [*requests, _change(RTM_SETLINK, f"put bridge port {port} into VLAN {vlan}", port, own)]


def enter(bridge: int, vlan: int) -> Request:
    """Let the bridge itself receive the frames of a VLAN, with a tag. Like: bridge vlan add dev BRIDGE vid VLAN self"""
    own = [wire.u16(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF), _info(0, vlan)]
    return _change(RTM_SETLINK, f"let bridge {bridge} itself into VLAN {vlan}", bridge, own)


def leave(bridge: int, vlan: int) -> Request:
    """Undo enter(); where it is not in the VLAN that is no error."""
    own = [wire.u16(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF), _info(0, vlan)]
    return _change(RTM_DELLINK, f"take bridge {bridge} itself out of VLAN {vlan}", bridge, own)


def get_memberships() -> Request:
    """For Netlink.get(): every bridge and every port of one."""
    body = _IFINFOMSG.pack(_AF_BRIDGE, 0, 0, 0, 0) + wire.u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN)
    return Request(RTM_GETLINK, "list the VLANs of bridges", wire.NLM_F_DUMP, body)


def read_membership(kind: int, payload: memoryview) -> Membership | None:
    if kind != RTM_NEWLINK:
        return None
    index = _IFINFOMSG.unpack_from(payload)[2]
    told = wire.attributes(payload, IFINFOMSG_BYTES).get(IFLA_AF_SPEC, b"")
    found = [_VLAN_INFO.unpack_from(one) for one in wire.repeated(told, IFLA_BRIDGE_VLAN_INFO)]
    return Membership(index, {vlan: flags for flags, vlan in found})


def filters_vlans(kind: int, payload: memoryview) -> bool | None:
    """For Netlink.get(get_link(...)): whether a bridge does; None for a kernel that cannot."""
    if kind != RTM_NEWLINK:
        return None
    info = wire.attributes(wire.attributes(payload, IFINFOMSG_BYTES).get(IFLA_LINKINFO, b""))
    told = wire.attributes(info.get(IFLA_INFO_DATA, b"")).get(IFLA_BR_VLAN_FILTERING)
    return None if told is None else bool(told[0])


def _infos(first: int, last: int) -> list[bytes]:
    return [_info(0, first)] if first == last else [_info(RANGE_BEGIN, first), _info(RANGE_END, last)]


def _info(flags: int, vlan: int) -> bytes:
    return wire.attribute(IFLA_BRIDGE_VLAN_INFO, _VLAN_INFO.pack(flags, vlan))


def _change(kind: int, asked: str, link: int, attributes: list[bytes]) -> Request:
    body = _IFINFOMSG.pack(_AF_BRIDGE, 0, link, 0, 0) + wire.nested(IFLA_AF_SPEC, *attributes)
    return Request(kind, asked, 0, body)
