"""What else on this host decides about packets to and from containers: others' rules, and which way packets come."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from drivers.elements import Opening, Port
from drivers.exposure import Exposure, Packet, arrival, exposure, tables_of_others, way_out
from drivers.kernel.errors import KernelError
from drivers.kernel.link import get_link, read_link
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.route import get_way, read_way
from drivers.relayed import Relayed

# Addresses for documentation (RFC 5737, RFC 3849): nobody has a route to them but the default one.
OUTSIDE = {4: ip_address("198.51.100.1"), 6: ip_address("2001:db8:ffff::1")}
# Named like those that we make: rules for other bridges do not speak of it.
A_BRIDGE = "br-000000000000"

_LEGACY = {4: "/proc/thread-self/net/ip_tables_names", 6: "/proc/thread-self/net/ip6_tables_names"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WayOut:
    """Args:
    link: Its name.
    mtu: Of the route where it says one, else of the link.
    """

    link: str
    mtu: int


def find_way_out(host: Netlink, version: Literal[4, 6], vrf: int = 0) -> WayOut | None:
    """How the host reaches the world in one family, by the routes of a VRF where one is given; None if it does not."""
    try:
        [way] = host.get(get_way(OUTSIDE[version], vrf), read_way)
        [link] = host.get(get_link(way.link), read_link)
    except KernelError:
        return None
    return None if link.name == "lo" else WayOut(link=link.name, mtu=way.mtu or link.mtu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A look at everybody's rules, from which many questions are answered.

    Args:
        listing: Tables of others, as nft lists them, and our administrators' own chain.
        ways: Names of the links to the world by family; "" where there is none.
        legacy: Families with a filter table that nft cannot list.
    """

    listing: str
    ways: dict[int, str]
    legacy: tuple[int, ...] = ()

    def of_port(self, bridge: str, port: Port | Relayed) -> Exposure:
        """How far the world reaches a port that is published, or open at its own address."""
        if isinstance(port, Relayed):
            return self._of_relayed(port)
        version = port.target.version
        packet = Packet(
            version=version,
            protocol=port.protocol,
            port=port.target_port,
            destination=port.target,
            leaves=bridge,
            translated=not isinstance(port, Opening),
        )
        host_port = 0 if isinstance(port, Opening) else port.host_port
        return self._with_legacy(exposure(self.listing, self.ways[version], host_port, packet), version)

    def _of_relayed(self, port: Relayed) -> Exposure:
        """It ends at the host, whose own packets to the container nobody asks about."""
        version = port.family or 6
        packet = Packet(
            version=version, protocol=port.protocol, port=port.host_port, destination=port.host_address, local=True
        )
        return self._with_legacy(arrival(self.listing, self.ways[version], packet), version)

    def of_any_port(self) -> Exposure:
        """How far the world reaches published ports in general."""
        packet = Packet(version=4, protocol="tcp", port=0, leaves=A_BRIDGE, translated=True)
        return self._with_legacy(exposure(self.listing, self.ways[4], 0, packet), 4)

    def of_way_out(self, bridge: str) -> Exposure:
        """How far containers of a network reach the world."""
        return self._with_legacy(way_out(self.listing, bridge, self.ways[4]), 4)

    def _with_legacy(self, found: Exposure, version: int) -> Exposure:
        if found.state == "open" and version in self.legacy:
            return Exposure("partly", "the filter table of iptables-legacy, which nft cannot show")
        return found


def look_around(nft: NftWorker, host: Netlink, user_chain: str = "") -> Surroundings:
    """Read all rules but those that engines of netmodel made.

    Args:
        host: Opened in the namespace of the calling thread and of nft's worker.
        user_chain: What our own table jumps to first, as a table of its own.
    """
    names = tables_of_others(nft.run("list tables\n"))
    listing = [nft.list_table(name) for name in names] + [user_chain]
    found = {version: find_way_out(host, version) for version in (4, 6)}
    return Surroundings(
        listing="\n".join(listing),
        ways={version: way.link if way else "" for version, way in found.items()},
        legacy=tuple(version for version, names_file in _LEGACY.items() if "filter" in _words(names_file)),
    )


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text().split()
    except OSError:
        return []
