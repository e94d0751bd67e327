"""Default pools as people write them, read with netaddr; kept apart so that only who parses pays for it."""

from __future__ import annotations

from ipaddress import ip_network

import netaddr

from ipam.errors import BadPool
from ipam.subnets import DefaultPool


def parse_default_pool(text: str) -> DefaultPool:
    """Read "base=10.0.0.0/8,size=24", as Docker's --default-address-pool takes it, or "10.0.0.0/8 size 24".

    Raises:
        BadPool: It is neither; says what is wrong.
    """
    hint = 'write it as "base=10.0.0.0/8,size=24"'
    parts = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if set(parts) != {"base", "size"}:
        raise BadPool(f"default pool {text!r} does not have a base and a size", hint)
    try:
        base = netaddr.IPNetwork(parts["base"].strip()).cidr
        return DefaultPool(ip_network(str(base)), int(parts["size"]))
    except (netaddr.AddrFormatError, ValueError) as error:
        raise BadPool(f"default pool {text!r}: {error}", hint) from error
