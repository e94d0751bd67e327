"""VRFs of the host: routing tables of their own, for the links that are put into them. Made by the administrator."""

from __future__ import annotations

from drivers.bridge_options import VRF
from drivers.errors import DriverError, LinkTaken
from drivers.kernel.link import Link, get_link, read_link
from drivers.kernel.netlink import Netlink


def find_vrf(host: Netlink, name: str) -> int:
    """The index of the VRF of that name; 0 for "", which is none.

    Raises:
        DriverError: There is no such link, or it is no VRF.
    """
    if not name:
        return 0
    link = host.link(name)
    if link is None:
        hint = f"make it first: ip link add {name} up type vrf table NUMBER"
        raise DriverError(f"the host has no VRF {name}", kind="not_found", hint=hint)
    if link.kind != "vrf":
        raise LinkTaken(name, f"no VRF but a {link.kind or 'network card'}", f"give {VRF} another name")
    return link.index


def check_vrf(host: Netlink, link: Link, vrf: int, name: str) -> None:
    """Refuse a link of somebody else that is in another VRF, or in none: we do not move it.

    Raises:
        LinkTaken.
    """
    if link.master == vrf:
        return
    if vrf:
        raise LinkTaken(link.name, f"not in the VRF {name}", f"put it there: ip link set {link.name} master {name}")
    [master] = host.get(get_link(link.master), read_link)
    if master.kind == "vrf":
        raise LinkTaken(link.name, f"in the VRF {master.name}", f"say so: -o {VRF}={master.name}")
