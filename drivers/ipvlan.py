"""ipvlan: endpoints share the MAC of a parent link of the host, which tells them apart by their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from drivers import options as read
from drivers.api import Endpoint, IPAddress, IPNetwork, Network, Route, Traits
from drivers.errors import NoServer
from drivers.kernel.sublink import IPVLAN_FLAGS, IPVLAN_MODES, add_ipvlan
from drivers.kernel.wire import Request
from drivers.sublinks import INTERFACE_PREFIX, MTU, PARENT, Place, SubLinks

_MODE, _FLAG = "ipvlan_mode", "ipvlan_flag"
KNOWN = (PARENT, _MODE, _FLAG, MTU, INTERFACE_PREFIX)
_EVERYTHING: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an ipvlan network may be asked for.

    Args:
        mode: "l2" switches; "l3" routes by the parent's namespace, without neighbours or broadcasts;
            "l3s" does so and passes through the host's connection tracking.
        flag: Whom an endpoint reaches on this host: "bridge" every other one, "private" none, "vepa"
            those that the switch behind the parent sends it back to.
    """

    parent: str = ""
    mode: str = "l2"
    flag: str = "bridge"
    mtu: int = 0
    interface_prefix: str = "eth"


class Ipvlan(SubLinks[Options]):
    """The driver of ipvlan networks."""

    name = "ipvlan"
    _option = "CONFIG_IPVLAN"

    def parse(self, options: Mapping[str, str]) -> Options:
        read.refuse_unknown(self.name, options, KNOWN)
        return Options(
            parent=read.link_name(options, PARENT, ""),
            mode=read.choice(options, _MODE, "l2", IPVLAN_MODES),
            flag=read.choice(options, _FLAG, "bridge", IPVLAN_FLAGS),
            mtu=read.number(options, MTU, 0, 68, 65535),
            interface_prefix=read.link_name(options, INTERFACE_PREFIX, "eth", limit=10),
        )

    def traits(self, options: Options, internal: bool) -> Traits:
        switched = options.mode == "l2"
        return Traits(
            on_host=False,
            gateway=switched and not internal and bool(options.parent),
            claim=options.parent,
            own_macs=False,
        )

    def segment(self, options: Options) -> str:
        if not options.parent:
            raise NoServer("without a parent the network leads nowhere", f"name the segment's link: -o {PARENT}=LINK")
        if options.mode != "l2":
            raise NoServer(f"{_MODE}={options.mode} carries no broadcasts", f"{_MODE}=l2 does")
        return options.parent

    def _request(self, options: Options, endpoint: Endpoint, place: Place) -> Request:
        return add_ipvlan(place.name, place.parent, options.mode, options.flag, place.netns_fd, options.mtu)

    def _gateways(self, network: Network[Options], endpoint: Endpoint) -> tuple[IPAddress, ...]:
        return super()._gateways(network, endpoint) if network.options.mode == "l2" else ()

    def _routes(self, network: Network[Options], endpoint: Endpoint) -> tuple[Route, ...]:
        """Where packets are routed, everything is on the link: the parent's namespace knows the way."""
        if network.options.mode == "l2":
            return ()
        return tuple(Route(destination=_EVERYTHING[address.version]) for address in endpoint.addresses)
