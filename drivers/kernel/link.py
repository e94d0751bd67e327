"""Links: veth pairs, their names, masters, groups and aliases."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from drivers.kernel import wire
from drivers.kernel.wire import Request

# Source: Linux include/uapi/linux/rtnetlink.h and if_link.h.
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
IFF_UP = 0x1
IFF_RUNNING = 0x40
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP = 18, 20, 26, 27
IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 28, 29, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_INET_CONF, IFLA_INET6_ADDR_GEN_MODE = 1, 8
IN6_ADDR_GEN_MODE_NONE = 1
IPV4_DEVCONF_ROUTE_LOCALNET = 26
VETH_INFO_PEER = 1
RTEXT_FILTER_SKIP_STATS = 8
_AF_INET, _AF_INET6 = 2, 10

NAME_BYTES = 15

_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFINFOMSG_BYTES = _IFINFOMSG.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link as the kernel tells it.

    Args:
        kind: "veth", "bridge", ...; "" for hardware and the loopback.
        master: Index of the bridge it is a port of; 0 is none.
        peer: Index of a veth's other end, in the namespace where that is.
    """

    index: int
    name: str
    kind: str = ""
    alias: str = ""
    mac: str = ""
    mtu: int = 0
    master: int = 0
    group: int = 0
    peer: int = 0
    up: bool = False
    running: bool = False


def add_veth(
    host_name: str,
    peer_name: str,
    peer_netns_fd: int | None,
    mac: str = "",
    mtu: int = 0,
    *,
    master: int = 0,
    group: int = 0,
    up: bool = False,
) -> Request:
    """Make a veth pair whose peer is in its namespace from the start.

    Moving it there afterwards would cost a grace period of the kernel (20 ms).
    Like: ip link add HOST_NAME master BRIDGE type veth peer name PEER_NAME netns NETNS address MAC

    Args:
        peer_netns_fd: An open namespace; None is the socket's own.
        mac: Of the peer.
        mtu: Of both ends, in bytes; 0 is the kernel's.
    """
    peer = [_IFINFOMSG.pack(0, 0, 0, 0, 0), wire.text(IFLA_IFNAME, peer_name)]
    if mac:
        peer.append(wire.mac(IFLA_ADDRESS, mac))
    if mtu:
        peer.append(wire.u32(IFLA_MTU, mtu))
    if peer_netns_fd is not None:
        peer.append(wire.u32(IFLA_NET_NS_FD, peer_netns_fd))
    own = [wire.text(IFLA_IFNAME, host_name)]
    if mtu:
        own.append(wire.u32(IFLA_MTU, mtu))
    if master:
        own.append(wire.u32(IFLA_MASTER, master))
    if group:
        own.append(wire.u32(IFLA_GROUP, group))
    own.append(_linkinfo("veth", wire.attribute(VETH_INFO_PEER, b"".join(peer))))
    return new_link(f"make the veth pair {host_name}", own, flags=IFF_UP if up else 0)


def new_link(asked: str, attributes: list[bytes], flags: int = 0) -> Request:
    """Make a link; one of that name that exists is a refusal (EEXIST)."""
    body = _IFINFOMSG.pack(0, 0, 0, flags, flags) + b"".join(attributes)
    return Request(RTM_NEWLINK, asked, wire.CREATE_ONLY, body)


def delete_link(link: int | str) -> Request:
    """Delete a link, and a veth's peer with it; one that is gone is no error. Costs a grace period."""
    body, named = _address(link)
    return Request(RTM_DELLINK, f"delete link {link}", 0, body + named, (errno.ENODEV,))


def delete_group(group: int) -> Request:
    """Delete every link of a group in one step; an empty group is no error."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + wire.u32(IFLA_GROUP, group)
    return Request(RTM_DELLINK, f"delete the links of group {group}", 0, body, (errno.ENODEV,))


def set_up(link: int | str) -> Request:
    return change(link, f"set link {link} up", flags=IFF_UP)


def set_down(link: int | str, harmless: tuple[int, ...] = ()) -> Request:
    return change(link, f"set link {link} down", flags=0, harmless=harmless)


def set_master(link: int | str, master: int) -> Request:
    """Make a link a port of a bridge; 0 takes it out of the one it is in."""
    asked = f"add link {link} to bridge {master}" if master else f"take link {link} out of its bridge"
    return change(link, asked, [wire.u32(IFLA_MASTER, master)])


def set_alias(link: int | str, tag: str) -> Request:
    return change(link, f"tag link {link} as {tag}", [alias(tag)])


def set_group(link: int | str, group: int) -> Request:
    return change(link, f"put link {link} into group {group}", [wire.u32(IFLA_GROUP, group)])


def set_mtu(link: int | str, mtu: int) -> Request:
    return change(link, f"set the MTU of link {link} to {mtu}", [wire.u32(IFLA_MTU, mtu)])


def set_mac(link: int | str, mac: str) -> Request:
    return change(link, f"set the address of link {link} to {mac}", [wire.mac(IFLA_ADDRESS, mac)])


def rename(index: int, name: str, harmless: tuple[int, ...] = ()) -> Request:
    """Name a link, which must be down on kernels that do not rename a running one."""
    return change(index, f"rename link {index} to {name}", [wire.text(IFLA_IFNAME, name)], harmless=harmless)


def no_link_local(link: int | str) -> Request:
    """Keep IPv6 from giving the link an address of its own; before it is up, or it has one already."""
    # A kernel without IPv6 knows no such family, which is as good.
    return change(link, f"keep link {link} without IPv6", [without_link_local()], harmless=(errno.EAFNOSUPPORT,))


def route_localnet(link: int | str, on: bool = True) -> Request:
    """Let 127.0.0.0/8 be routed over the link or not, as /proc/sys/net/ipv4/conf/LINK/route_localnet does."""
    conf = wire.nested(IFLA_INET_CONF, wire.u32(IPV4_DEVCONF_ROUTE_LOCALNET, on))
    spec = wire.nested(IFLA_AF_SPEC, wire.nested(_AF_INET, conf))
    return change(link, f"route 127.0.0.0/8 {'over' if on else 'no more over'} link {link}", [spec])


def change(
    link: int | str,
    asked: str,
    attributes: list[bytes] | None = None,
    flags: int | None = None,
    harmless: tuple[int, ...] = (),
) -> Request:
    """Change a link that exists, given its index or its name.

    RTM_NEWLINK without NLM_F_CREATE, not RTM_SETLINK: only the former takes a port's settings.
    """
    body, named = _address(link, flags)
    return Request(RTM_NEWLINK, asked, 0, body + named + b"".join(attributes or ()), harmless)


def get_links() -> Request:
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + wire.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return Request(RTM_GETLINK, "list links", wire.NLM_F_DUMP, body)


def get_link(link: int | str) -> Request:
    body, named = _address(link)
    return Request(RTM_GETLINK, f"find link {link}", 0, body + wire.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) + named)


def read_link(kind: int, payload: memoryview) -> Link | None:
    if kind != RTM_NEWLINK:
        return None
    _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(payload)
    found = wire.attributes(payload, _IFINFOMSG.size)
    info = wire.attributes(found.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=wire.to_text(found.get(IFLA_IFNAME)),
        kind=wire.to_text(info.get(IFLA_INFO_KIND)),
        alias=wire.to_text(found.get(IFLA_IFALIAS)),
        mac=wire.to_mac(found.get(IFLA_ADDRESS)),
        mtu=wire.to_u32(found.get(IFLA_MTU)),
        master=wire.to_u32(found.get(IFLA_MASTER)),
        group=wire.to_u32(found.get(IFLA_GROUP)),
        peer=wire.to_u32(found.get(IFLA_LINK)),
        up=bool(flags & IFF_UP),
        running=bool(flags & IFF_RUNNING),
    )


def alias(tag: str) -> bytes:
    """For change(): a text of up to 255 bytes that the kernel keeps with the link."""
    return wire.attribute(IFLA_IFALIAS, tag.encode())


def without_link_local() -> bytes:
    """For change(): IPv6 gives the link no address of its own."""
    mode = wire.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)
    return wire.nested(IFLA_AF_SPEC, wire.nested(_AF_INET6, mode))


def linkinfo_of_port(master_kind: str, *settings: bytes) -> bytes:
    return wire.nested(
        IFLA_LINKINFO, wire.text(IFLA_INFO_SLAVE_KIND, master_kind), wire.nested(IFLA_INFO_SLAVE_DATA, *settings)
    )


def _linkinfo(kind: str, *data: bytes) -> bytes:
    return wire.nested(IFLA_LINKINFO, wire.text(IFLA_INFO_KIND, kind), wire.nested(IFLA_INFO_DATA, *data))


def _address(link: int | str, flags: int | None = None) -> tuple[bytes, bytes]:
    index = link if isinstance(link, int) else 0
    header = _IFINFOMSG.pack(0, 0, index, flags or 0, 0 if flags is None else IFF_UP)
    return header, b"" if isinstance(link, int) else wire.text(IFLA_IFNAME, link)
