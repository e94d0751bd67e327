"""The link on the host that a network's sub-links stand on: one that is there, a VLAN of it, or one that leads nowhere.

What we make carries our tag and goes with its network; a link that was there before is only used.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack

from drivers.errors import DriverError, InvalidOption, LinkTaken, MissingLinkKind
from drivers.kernel.errors import KernelError
from drivers.kernel.link import IFF_UP, change, delete_link, no_link_local, set_alias
from drivers.kernel.netlink import Netlink
from drivers.kernel.sublink import add_sink, add_vlan, is_unknown_kind

_VLANS = range(1, 4095)
PARENT = "parent"


class Parents:
    """Finds and makes parents, for any number of networks."""

    def __init__(self, host: Netlink, root_id: str) -> None:
        self._host = host
        self._root_id = root_id

    def ensure(self, network_id: str, parent: str) -> int:
        """The parent's index; it is made where it is missing.

        Args:
            parent: A link's name, or LINK.NUMBER for a VLAN of it; "" is a link that leads nowhere.

        Raises:
            DriverError: There is no such link, or this kernel cannot make it.
        """
        name = parent or sink_name(network_id)
        link = self._host.link(name)
        if link is None:
            return self._make(network_id, parent, name)
        if not parent and link.alias != self._tag(network_id):
            raise LinkTaken(name, "not ours", "remove it, or create the network again")
        return link.index

    def remove(self, network_id: str, parent: str) -> None:
        """Delete the parent if we made it for this network."""
        name = parent or sink_name(network_id)
        link = self._host.link(name)
        if link is not None and link.alias == self._tag(network_id):
            self._host.apply([delete_link(link.index)])

    def _make(self, network_id: str, parent: str, name: str) -> int:
        with ExitStack() as undo:
            if parent:
                self._make_vlan(name)
            else:
                self._make_sink(name)
            undo.callback(self._host.attempt, [delete_link(name)])
            self._host.apply([set_alias(name, self._tag(network_id)), no_link_local(name)])
            # A VLAN of a link that is down comes up together with it (Linux net/8021q/vlan.c, vlan_dev_open()).
            self._host.apply([change(name, f"set link {name} up", flags=IFF_UP, harmless=(errno.ENETDOWN,))])
            index = self._host.index(name)
            undo.pop_all()
        return index

    def _make_vlan(self, name: str) -> None:
        below, dot, number = name.rpartition(".")
        base = self._host.link(below) if dot else None
        if base is None:
            hint = "name a link of the host, or LINK.NUMBER to have that VLAN of it made"
            raise DriverError(f"the host has no link {below if dot else name}", kind="not_found", hint=hint)
        if not number.isdigit() or int(number) not in _VLANS:
            raise InvalidOption(f"{number!r} in parent {name} is no VLAN", hint="a number from 1 to 4094")
        try:
            self._host.apply([add_vlan(name, base.index, int(number))])
        except KernelError as error:
            if is_unknown_kind(error):
                raise MissingLinkKind("VLAN", "CONFIG_VLAN_8021Q") from error
            raise

    def _make_sink(self, name: str) -> None:
        for kind in ("dummy", "ifb"):
            try:
                self._host.apply([add_sink(name, kind)])
            except KernelError as error:
                if not is_unknown_kind(error):
                    raise
            else:
                return
        raise MissingLinkKind("dummy", "CONFIG_DUMMY (or CONFIG_IFB), or the network a parent")

    def _tag(self, network_id: str) -> str:
        return f"netmodel:{self._root_id}:{PARENT}:{network_id}"


def sink_name(network_id: str) -> str:
    return f"dm-{network_id[:12]}"
