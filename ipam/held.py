"""A pool somebody holds: its value, and who owns which address of it."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from ipam.addresses import Addresses
from ipam.api import IPAddress, IPNetwork, Pool, PoolRequest
from ipam.errors import AddressOutside, AddressTaken, PoolExhausted
from ipam.subnets import span


class HeldPool:
    """The addresses of one subnet; its gateway and auxiliary ones are reserved from the start.

    Raises:
        IpamError: The gateway or an auxiliary address does not fit.
    """

    def __init__(self, subnet: IPNetwork, request: PoolRequest) -> None:
        self.subnet = subnet
        self._first, self._last = span(subnet)
        # RFC 3021 for IPv4, RFC 6164 for IPv6: in a pair, or alone, no address is special.
        special = subnet.prefixlen < subnet.max_prefixlen - 1
        self._low = self._first + special
        self._high = self._last - (special and subnet.version == 4)
        low, high = span(request.ip_range or subnet)
        self._addresses = Addresses(max(low, self._low), min(high, self._high))
        self._fixed: dict[int, str] = {}
        self.pool = Pool(
            id=str(subnet),
            subnet=subnet,
            ip_range=request.ip_range,
            auxiliary=dict(request.auxiliary),
            gateway=self._fix(request.auxiliary, request.gateway, request.want_gateway),
        )

    @property
    def in_use(self) -> int:
        return self._addresses.in_use

    @property
    def available(self) -> int:
        return self._addresses.available

    @property
    def special(self) -> int:
        """Addresses that no host can have."""
        return (self._low - self._first) + (self._last - self._high)

    def take(self) -> int:
        """Reserve the next dynamic address."""
        address = self._addresses.take()
        if address is None:
            if self.pool.ip_range in (None, self.subnet):
                raise PoolExhausted(self.subnet, self.in_use)
            raise PoolExhausted(self.subnet, self._addresses.in_use_of_range, self.pool.ip_range)
        return address

    def reserve(self, address: IPAddress) -> int:
        """Reserve this address, anywhere in the subnet."""
        number = int(address)
        if address.version != self.subnet.version or not self._first <= number <= self._last:
            raise AddressOutside(address, self.subnet)
        if not self._low <= number <= self._high:
            raise AddressOutside(address, self.subnet, self._special(number))
        if not self._addresses.reserve(number):
            raise AddressTaken(address, self.subnet, self._fixed.get(number, ""))
        return number

    def release(self, address: IPAddress) -> None:
        """Give an address back; the gateway's and the auxiliary ones stay as long as the pool."""
        number = int(address)
        if address.version == self.subnet.version and number not in self._fixed:
            self._addresses.release(number)

    def _fix(self, auxiliary: Mapping[str, IPAddress], gateway: IPAddress | None, want: bool) -> IPAddress | None:
        for name, address in auxiliary.items():
            self._fixed[self.reserve(address)] = f"the auxiliary address {name}"
        if gateway is None and want:
            gateway = self._first_free()
        if gateway is not None:
            self._fixed[self.reserve(gateway)] = "the gateway's"
        return gateway

    def _first_free(self) -> IPAddress:
        number = self._low
        while number in self._addresses:
            number += 1
        if number > self._high:
            raise PoolExhausted(self.subnet, self.in_use)
        return IPv4Address(number) if self.subnet.version == 4 else IPv6Address(number)

    def _special(self, number: int) -> str:
        if number == self._last:
            return "the broadcast address"
        # RFC 4291 section 2.6.1: every router on the link answers to the first IPv6 one.
        return "the network address" if self.subnet.version == 4 else "the routers' anycast address"
