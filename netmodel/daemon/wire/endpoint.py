"""Docker's EndpointSettings, in both directions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from msgspec import field

from drivers.lease import Lease
from netmodel.daemon.wire.decode import Body, address, ipv4, ipv6
from netmodel.daemon.wire.encode import moment
from netmodel.errors import Invalid
from netmodel.model import Endpoint, EndpointConfig, LinkConfig, Network

IFNAME = "com.docker.network.endpoint.ifname"  # how Docker's clients ask for a link's name


class IpamConfig(Body):
    ipv4_address: str | None = field(default=None, name="IPv4Address")
    ipv6_address: str | None = field(default=None, name="IPv6Address")
    link_local_ips: list[str] | None = field(default=None, name="LinkLocalIPs")


class EndpointSettings(Body):
    ipam_config: IpamConfig | None = field(default=None, name="IPAMConfig")
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0

    def config(self, network: str) -> EndpointConfig:
        """The attachment asked for, on the network of that name."""
        wish = self.ipam_config or IpamConfig()
        options = dict(self.driver_opts or {})
        return EndpointConfig(
            network=network,
            ipv4_address=ipv4(wish.ipv4_address, "IPAMConfig.IPv4Address"),
            ipv6_address=ipv6(wish.ipv6_address, "IPAMConfig.IPv6Address"),
            link_local_ips=tuple(address(text, "IPAMConfig.LinkLocalIPs") for text in wish.link_local_ips or ()),
            aliases=tuple(self.aliases or ()),
            mac_address=self.mac_address or None,
            interface_name=options.pop(IFNAME, None),
            gw_priority=self.gw_priority,
            driver_opts=options,
            links=links(self.links or ()),
        )


def links(entries: Iterable[str]) -> tuple[LinkConfig, ...]:
    """Docker's: NAME, NAME:ALIAS, or as its own answers have it, /NAME:/SELF/ALIAS."""
    found = []
    for text in entries:
        target, colon, alias = text.partition(":")
        alias = alias.rpartition("/")[2] if target.startswith("/") else alias
        target = target.removeprefix("/")
        if not target or ":" in alias or (colon and not alias):
            raise Invalid(f"link {text!r} is not of the form NAME or NAME:ALIAS")
        found.append(LinkConfig(target=target, alias=alias or target))
    return tuple(found)


def no_endpoint(network_id: str) -> dict[str, Any]:
    """How who has the host's network, or none, is on it: with nothing of its own there."""
    return {
        **dict.fromkeys(("IPAMConfig", "Links", "Aliases", "DriverOpts", "DNSNames")),
        "NetworkID": network_id,
        **dict.fromkeys(("EndpointID", "MacAddress", "Gateway", "IPAddress", "IPv6Gateway", "GlobalIPv6Address"), ""),
        **dict.fromkeys(("GwPriority", "IPPrefixLen", "GlobalIPv6PrefixLen"), 0),
    }


def endpoint_settings(endpoint: Endpoint, network: Network, names: Sequence[str], active: bool) -> dict[str, Any]:
    """An attachment as `inspect` shows it.

    Args:
        names: What the container is called on this network.
        active: It runs; of a stopped container Docker tells only what was asked for.
    """
    config = endpoint.config
    options = {**config.driver_opts, **({IFNAME: config.interface_name} if config.interface_name else {})}
    wish: dict[str, Any] = {}
    if config.ipv4_address:
        wish["IPv4Address"] = str(config.ipv4_address)
    if config.ipv6_address:
        wish["IPv6Address"] = str(config.ipv6_address)
    if config.link_local_ips:
        wish["LinkLocalIPs"] = [str(one) for one in config.link_local_ips]
    v4 = next((a for a in endpoint.addresses if isinstance(a, IPv4Interface)), None) if active else None
    v6 = next((a for a in endpoint.addresses if isinstance(a, IPv6Interface)), None) if active else None
    gateways = {pool.subnet.version: str(pool.way_out) for pool in network.pools if pool.way_out}
    if endpoint.lease is not None and endpoint.lease.gateway is not None:
        gateways[4] = str(endpoint.lease.gateway)
    return {
        "IPAMConfig": wish or None,
        # Those of the default network are among the host's configuration, as in Docker.
        "Links": [f"{one.target}:{one.alias}" for one in config.links if network.name != "bridge"] or None,
        "Aliases": list(config.aliases) or None,
        "MacAddress": endpoint.mac if active else config.mac_address or "",
        "DriverOpts": options or None,
        "GwPriority": config.gw_priority,
        "NetworkID": endpoint.network_id,
        "EndpointID": endpoint.id if active else "",
        "Gateway": gateways.get(4, "") if v4 else "",
        "IPAddress": str(v4.ip) if v4 else "",
        "IPPrefixLen": v4.network.prefixlen if v4 else 0,
        "IPv6Gateway": gateways.get(6, "") if v6 else "",
        "GlobalIPv6Address": str(v6.ip) if v6 else "",
        "GlobalIPv6PrefixLen": v6.network.prefixlen if v6 else 0,
        "DNSNames": list(names) or None,
        **({"Lease": _lease(endpoint.lease)} if endpoint.lease is not None and active else {}),
    }


def _lease(lease: Lease) -> dict[str, Any]:
    """What a DHCP server said; Docker has no such thing."""
    return {
        "Server": str(lease.server),
        "Renews": moment(lease.renews_at) if lease.renews_at else None,
        "Expires": moment(lease.expires_at) if lease.expires_at else None,
        "NameServers": [str(server) for server in lease.name_servers],
        "Search": list(lease.search),
    }
