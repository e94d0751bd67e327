"""macvlan: endpoints are neighbours on the network of a parent link of the host, each with a MAC of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drivers import options as read
from drivers.api import Endpoint, Traits
from drivers.errors import NoServer
from drivers.kernel.sublink import MACVLAN_MODES, add_macvlan
from drivers.kernel.wire import Request
from drivers.sublinks import INTERFACE_PREFIX, MTU, PARENT, Place, SubLinks

_MODE = "macvlan_mode"
KNOWN = (PARENT, _MODE, MTU, INTERFACE_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a macvlan network may be asked for.

    Args:
        mode: Whom an endpoint reaches on this host: "bridge" every other one, "private" none, "vepa"
            those that the switch behind the parent sends it back to; "passthru" is a single endpoint
            that has the parent for itself.
    """

    parent: str = ""
    mode: str = "bridge"
    mtu: int = 0
    interface_prefix: str = "eth"


class Macvlan(SubLinks[Options]):
    """The driver of macvlan networks."""

    name = "macvlan"
    _option = "CONFIG_MACVLAN"

    def parse(self, options: Mapping[str, str]) -> Options:
        read.refuse_unknown(self.name, options, KNOWN)
        return Options(
            parent=read.link_name(options, PARENT, ""),
            mode=read.choice(options, _MODE, "bridge", MACVLAN_MODES),
            mtu=read.number(options, MTU, 0, 68, 65535),
            interface_prefix=read.link_name(options, INTERFACE_PREFIX, "eth", limit=10),
        )

    def traits(self, options: Options, internal: bool) -> Traits:
        return Traits(
            on_host=False,
            gateway=not internal and bool(options.parent),
            claim=options.parent,
            # The kernel gives it the parent's, and another would change the parent's, too.
            # Source: Linux drivers/net/macvlan.c, macvlan_common_newlink(), macvlan_set_mac_address().
            own_macs=options.mode != "passthru",
        )

    def segment(self, options: Options) -> str:
        if not options.parent:
            raise NoServer("without a parent the network leads nowhere", f"name the segment's link: -o {PARENT}=LINK")
        return options.parent

    def _request(self, options: Options, endpoint: Endpoint, place: Place) -> Request:
        return add_macvlan(place.name, place.parent, options.mode, place.netns_fd, endpoint.mac, options.mtu)
