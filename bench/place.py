"""A network namespace for one engine alone: engines side by side must not meet in each other's rules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.kernel.link import set_up
from drivers.kernel.namespace import new_namespace, open_in
from drivers.kernel.netlink import Netlink

_LOOPBACK = 1


@contextmanager
def place() -> Iterator[Path]:
    """Its path, while it is open. It forwards: dockerd sets that anyway, so nobody has an advantage."""
    descriptor = new_namespace()
    try:
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        with Netlink(path) as links:
            links.apply([set_up(_LOOPBACK)])
        open_in(path, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        yield path
    finally:
        os.close(descriptor)
