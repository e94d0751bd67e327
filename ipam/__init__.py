"""Pools and addresses: pure arithmetic, no I/O, no store."""

from ipam.default import DefaultIpam
from ipam.errors import IpamError
from ipam.null import NullIpam
from ipam.subnets import DefaultPool, ula_pool

__all__ = ["DefaultIpam", "DefaultPool", "IpamError", "NullIpam", "ula_pool"]
