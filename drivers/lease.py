"""Addresses that a DHCP server lends: what was lent, and which networks have somebody who lends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Protocol, runtime_checkable

from drivers.api import Power, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What a server lent, and until when; times are by the host's clock, so that they mean the same to a later engine.

    Args:
        server_mac: Of who answered: the server, or the router on the way to it.
        renews_at: T1, when this server is asked for more time.
        rebinds_at: T2, when any server is.
        expires_at: None, like the other two: never.
        gateway: The default route's.
        routes: All others (option 121).
        search: Domains to look names up in.
        mtu: In bytes; 0 leaves the link's own.
    """

    address: IPv4Interface
    server: IPv4Address
    server_mac: str
    renews_at: datetime | None = None
    rebinds_at: datetime | None = None
    expires_at: datetime | None = None
    gateway: IPv4Address | None = None
    routes: tuple[Route, ...] = ()
    name_servers: tuple[IPv4Address, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int = 0


@runtime_checkable
class OnSegment(Protocol, metaclass=Power):
    """A driver whose networks may be part of a segment on which somebody else gives out the addresses."""

    def segment(self, options: Any) -> str:
        """The name of the host's link by which such a network is on its segment.

        Raises:
            DriverError: There is no server to reach on it; says why.
        """
