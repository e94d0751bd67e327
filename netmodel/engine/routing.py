"""Which way out a sandbox takes: the choice of its default gateways, and all its routes as values.

Docker's rule: of the attachments that offer a gateway of the family, the one with the highest
gw_priority; among equals the one whose network's name sorts first. What x-routes says of the
default route goes before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from drivers.api import Attachment, Route
from netmodel.errors import Invalid
from netmodel.model import Endpoint, IPAddress, IPNetwork, Network, RouteConfig

EVERYTHING: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """An endpoint whose link is in the sandbox."""

    endpoint: Endpoint
    network: Network
    attachment: Attachment

    @property
    def leads_outside(self) -> bool:
        return not self.network.config.internal and self.attachment.leads_outside

    def way_out(self, family: int) -> Route | None:
        """The default route that it offers: by a gateway, or where everything is on the link."""
        families = {address.version for address in self.endpoint.addresses}
        if not self.leads_outside or (families and family not in families):
            return None
        everything = EVERYTHING[family]
        gateway = next((gateway for gateway in self.attachment.gateways if gateway.version == family), None)
        if gateway is not None:
            return Route(destination=everything, via=gateway)
        return next((route for route in self.attachment.routes if route.destination == everything), None)


def gateway_endpoint(links: Iterable[Joined], family: int) -> Joined | None:
    """The attachment whose way out is the default one of a family."""
    offering = [link for link in links if link.way_out(family) is not None]
    return min(offering, key=lambda link: (-link.endpoint.config.gw_priority, link.network.name), default=None)


def publishing_endpoint(links: Sequence[Joined]) -> Joined | None:
    """The attachment that published ports lead to: the one by which answers find their way back."""
    return gateway_endpoint(links, 4) or gateway_endpoint(links, 6)


def declared_default(routes: Iterable[RouteConfig], family: int) -> bool:
    """Whether x-routes itself says where everything goes."""
    return any(route.destination.version == family and route.destination.prefixlen == 0 for route in routes)


def check_routes(routes: Iterable[RouteConfig], links: Sequence[Endpoint], *, whole: bool = True) -> None:
    """Refuse routes that no link of the sandbox could carry.

    Args:
        whole: All addresses of the links are known; else a gateway may turn out to be on one.

    Raises:
        Invalid: Its gateway is on none of the networks, or there is no such interface.
    """
    names = [endpoint.interface for endpoint in links]
    for route in routes:
        if route.blackhole:
            continue  # it needs no link
        if route.dev is not None and route.dev not in names:
            raise Invalid(
                f"route {route.destination} dev {route.dev}: the container has no such interface",
                f"it has {', '.join(names) or 'none'}",
            )
        if whole and route.via is not None and route.dev is None and not _on_link(route.via, links):
            raise Invalid(
                f"route {route.destination} via {route.via}: no network of the container reaches {route.via}",
                "name a gateway on one of its own subnets",
            )
        if route.via is None and route.dev is None:
            raise Invalid(f"route {route.destination} has neither a gateway nor an interface", "add 'via' or 'dev'")


def _on_link(address: IPAddress, links: Iterable[Endpoint]) -> bool:
    return any(address in interface.network for endpoint in links for interface in endpoint.addresses)
