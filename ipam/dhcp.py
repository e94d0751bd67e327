"""The dhcp IPAM driver: a server on the segment lends the addresses, once an endpoint's link is there to ask by."""

from __future__ import annotations

from collections.abc import Iterable

from ipam.api import Pool, PoolRequest, Taken
from ipam.errors import AddressesLent
from ipam.null import NullIpam


class DhcpIpam(NullIpam):
    """Holds nothing: which addresses are taken is known to the server alone."""

    name = "dhcp"

    def request_pool(self, request: PoolRequest, taken: Iterable[Taken] = ()) -> Pool:
        """Give the pool that stands for no pool; every network may have it at once."""
        chosen = request.subnet or request.ip_range or request.gateway or next(iter(request.auxiliary.values()), None)
        if chosen or request.size:
            raise AddressesLent(chosen)
        return super().request_pool(request, taken)
