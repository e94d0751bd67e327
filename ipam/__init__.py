"""Pools and addresses: pure arithmetic, no I/O, no store."""

from ipam.default import DefaultIpam
from ipam.dhcp import DhcpIpam
from ipam.errors import IpamError
from ipam.null import NullIpam
from ipam.subnets import DefaultPool, ula_pool

__all__ = ["DefaultIpam", "DefaultPool", "DhcpIpam", "IpamError", "NullIpam", "ula_pool"]
