"""The link on the host that a network's sub-links stand on: one that is there, a VLAN of it, or one that leads nowhere.

What we make carries our tag and goes with its network; a link that was there before is only used.
"""

from __future__ import annotations

import errno

from drivers.errors import DriverError, InvalidOption, LinkTaken, MissingLinkKind
from drivers.kernel.link import IFF_UP, change, delete_link, no_link_local, set_alias
from drivers.kernel.netlink import Netlink
from drivers.kernel.sublink import add_sink, add_vlan, is_unknown_kind
from drivers.kernel.wire import Request

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
        if parent:
            candidates, missing = [self._vlan(name)], MissingLinkKind("VLAN", "CONFIG_VLAN_8021Q")
        else:
            candidates = [add_sink(name, kind) for kind in ("dummy", "ifb")]
            missing = MissingLinkKind("dummy", "CONFIG_DUMMY (or CONFIG_IFB), or the network a parent")
        for candidate in candidates:
            refusals = self._host.attempt([candidate, *self._settings(network_id, name)])
            if not refusals:
                return self._host.index(name)
            if not is_unknown_kind(refusals[0]):
                self.remove(network_id, parent)
                raise refusals[0]
        raise missing

    def _settings(self, network_id: str, name: str) -> list[Request]:
        """What goes with the link in the datagram that makes it: nothing can stop us before it is tagged as ours."""
        return [
            set_alias(name, self._tag(network_id)),
            no_link_local(name),
            # A VLAN of a link that is down comes up together with it (Linux net/8021q/vlan.c, vlan_dev_open()).
            change(name, f"set link {name} up", flags=IFF_UP, harmless=(errno.ENETDOWN,)),
        ]

    def _vlan(self, name: str) -> Request:
        below, dot, number = name.rpartition(".")
        base = self._host.link(below) if dot else None
        if base is None:
            hint = "name a link of the host, or LINK.NUMBER to have that VLAN of it made"
            raise DriverError(f"the host has no link {below if dot else name}", kind="not_found", hint=hint)
        if not number.isdigit() or int(number) not in _VLANS:
            raise InvalidOption(f"{number!r} in parent {name} is no VLAN", hint="a number from 1 to 4094")
        return add_vlan(name, base.index, int(number))

    def _tag(self, network_id: str) -> str:
        return f"netmodel:{self._root_id}:{PARENT}:{network_id}"


def sink_name(network_id: str) -> str:
    return f"dm-{network_id[:12]}"
