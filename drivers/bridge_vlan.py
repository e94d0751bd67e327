"""One VLAN of a bridge that may have others: what connects it with the host's own network.

A bridge speaks to its host as one port more. In a VLAN which is not the one that it takes untagged
frames for, the host needs a link of that VLAN above the bridge (BRIDGE.NUMBER), and the bridge itself
must be let into it.
"""

from __future__ import annotations

from contextlib import ExitStack

from drivers.api import Network
from drivers.bridge_options import VLAN, Options
from drivers.bridge_rules import host_link
from drivers.errors import InvalidOption, LinkTaken
from drivers.kernel.bridge_vlan import PVID, enter, filters_vlans, get_memberships, leave, read_membership
from drivers.kernel.link import Link, alias, change, get_link, no_link_local
from drivers.kernel.netlink import Netlink
from drivers.kernel.reaper import Reaper
from drivers.kernel.sublink import add_vlan, read_vlan
from drivers.kernel.sysctl import read_sysctl, write_sysctl
from drivers.kernel.wire import Request

# The kinds in the tag of the host's link: whether its bridge was let into the VLAN for it, or was in it before.
ENTERED, ABOVE = "vlan", "above"


class BridgeVlans:
    """Makes and removes the host's links to single VLANs of bridges."""

    def __init__(self, host: Netlink, reaper: Reaper, root_id: str) -> None:
        self._host = host
        self._reaper = reaper
        self._root_id = root_id

    def ensure(self, network: Network[Options], bridge: Link, vrf: int, undo: ExitStack) -> Link:
        """The host's link to the VLAN; it is made where it is missing.

        Raises:
            DriverError: The bridge has no such VLAN to give, or something is in the way.
        """
        name, vlan = host_link(network), network.options.vlan
        if self._host.get(get_link(bridge.index), filters_vlans) != [True]:
            hint = f"let it: ip link set {bridge.name} type bridge vlan_filtering 1"
            raise LinkTaken(bridge.name, "a bridge that does not look at VLANs", hint)
        memberships = self._host.get(get_memberships(), read_membership)
        own = next((one.vlans.get(vlan) for one in memberships if one.link == bridge.index), None)
        if own is not None and own & PVID:
            raise InvalidOption(
                f"option {VLAN}: on {bridge.name} the host itself is in VLAN {vlan}, without a tag",
                hint="leave the option out: a network on that bridge is then in the VLAN that new ports are in",
            )
        link = self._host.link(name)
        if link is None:
            tag = self._tag(network, ENTERED if own is None else ABOVE)
            request = add_vlan(name, bridge.index, vlan, master=vrf)
            link = make_quiet(self._host, request, name, tag, self._reaper, undo)
        elif link.alias.startswith("netmodel:") and not self.is_ours(network, link):
            raise LinkTaken(name, "of another network", "attach to that one, or take another VLAN")
        elif link.peer != bridge.index or self._host.get(get_link(link.index), read_vlan) != [vlan]:
            raise LinkTaken(name, f"not VLAN {vlan} of {bridge.name}", "give it another name, or remove it")
        if own is None and link.alias == self._tag(network, ENTERED):
            self._host.apply([enter(bridge.index, vlan)])
            undo.callback(self._host.attempt, [leave(bridge.index, vlan)])
        return link

    def remove(self, network: Network[Options], bridge: Link | None) -> None:
        """Retire the host's link if we made it, and take its bridge out of the VLAN if it is in there for that."""
        link = self._host.link(host_link(network))
        if link is None or not self.is_ours(network, link):
            return
        if bridge is not None and link.alias == self._tag(network, ENTERED):
            self._host.apply([leave(bridge.index, network.options.vlan)])
        self._reaper.retire([link.name])

    def is_ours(self, network: Network[Options], link: Link) -> bool:
        return link.alias in (self._tag(network, ENTERED), self._tag(network, ABOVE))

    def _tag(self, network: Network[Options], kind: str) -> str:
        return f"netmodel:{self._root_id}:{kind}:{network.id}"


def make_quiet(host: Netlink, request: Request, name: str, tag: str, reaper: Reaper, undo: ExitStack) -> Link:
    """Make a link that gives itself no address and listens to no router, and leave it down."""
    # One datagram: nothing can stop us between making the link and tagging it as ours.
    host.apply([request, change(name, f"tag link {name}", [alias(tag)])])
    undo.callback(reaper.retire, [name])
    # Before the link is up: an advertisement accepted in between would leave a route and an
    # address, and accept_ra=0 removes neither. Without IPv6 in the kernel there is no such setting.
    if read_sysctl(f"net/ipv6/conf/{name}/accept_ra") is not None:
        write_sysctl(f"net/ipv6/conf/{name}/accept_ra", "0")
    link = host.link(name)
    assert link is not None
    host.apply([no_link_local(link.index)])
    return link
