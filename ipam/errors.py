"""What can go wrong with pools and addresses; netmodel maps `kind` to a status and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ipam.api import IPAddress, IPNetwork


class IpamError(Exception):
    """Base of all that this package raises.

    Args:
        message: Names the thing and the fact.
    """

    kind: ClassVar[str] = "invalid"
    hint: str = ""


class BadPool(IpamError):
    """What is asked of a pool contradicts itself."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PoolOverlap(IpamError):
    """A chosen subnet shares addresses with something that is in use."""

    kind = "forbidden"  # what Docker's API answers, too

    def __init__(self, subnet: IPNetwork, other: IPNetwork, by: str) -> None:
        super().__init__(f"subnet {subnet} overlaps with {by} ({other})")
        self.hint = "choose another subnet, or none at all to get a free one"
        self.subnet, self.other, self.by = subnet, other, by


class NoFreeSubnet(IpamError):
    """The default pools hold no free subnet of the wanted size."""

    kind = "unavailable"
    hint = "remove networks that are not used, or choose a subnet yourself"

    def __init__(self, family: int, size: int | None, pools: Sequence[str]) -> None:
        wanted = f"IPv{family} subnet" + ("" if size is None else f" of size /{size}")
        where = f"in the default pools {', '.join(pools)}" if pools else "because there are no default pools"
        super().__init__(f"no free {wanted} is left {where}")
        self.family, self.size = family, size


class PoolExhausted(IpamError):
    """A pool has no free address left, or the range has none that automatic ones come from."""

    kind = "unavailable"

    def __init__(self, pool: IPNetwork, in_use: int, ip_range: IPNetwork | None = None) -> None:
        what = f"pool {pool}" if ip_range is None else f"the range {ip_range} of pool {pool}"
        super().__init__(f"{what} is full: {in_use} address{'' if in_use == 1 else 'es'} in use")
        self.hint = "give the network a wider subnet or disconnect a container"
        if ip_range is not None:
            self.hint = f"choose an address in {pool}, disconnect a container, or give the network a wider range"
        self.pool, self.in_use = pool, in_use


class AddressTaken(IpamError):
    """The address has an owner already."""

    kind = "forbidden"
    hint = "choose another address, or none at all to get a free one"

    def __init__(self, address: IPAddress, pool: IPNetwork, owner: str = "") -> None:
        super().__init__(f"address {address} of pool {pool} is taken" + (f": it is {owner}" if owner else ""))
        self.address, self.pool = address, pool


class AddressOutside(IpamError):
    """The address is not one that a host of this pool can have."""

    def __init__(self, address: IPAddress, pool: IPNetwork, special: str = "") -> None:
        super().__init__(f"address {address} is {special or 'outside'} of pool {pool}")
        self.hint = f"choose another one of {pool}" if special else f"choose one inside {pool}"
        self.address, self.pool = address, pool


class UnknownPool(IpamError):
    """Nobody holds this pool."""

    kind = "not_found"

    def __init__(self, pool_id: str) -> None:
        super().__init__(f"no such address pool: {pool_id}")


class UnknownOption(IpamError):
    """The driver has no such option."""

    hint = "leave it out"

    def __init__(self, driver: str, option: str) -> None:
        super().__init__(f"the IPAM driver {driver} has no option {option!r}")


class AddressesLent(IpamError):
    """What a DHCP server decides was asked for."""

    hint = "leave it out: subnet and gateway come with each address"

    def __init__(self, chosen: object) -> None:
        super().__init__(f"the IPAM driver dhcp cannot be given {chosen or 'a size'}: its server decides")


class NoAddresses(IpamError):
    """The driver manages no addresses at all."""

    def __init__(self, driver: str) -> None:
        super().__init__(f"the IPAM driver {driver} hands out no addresses")
        self.hint = "leave the subnet and the address away, or use the IPAM driver default"
