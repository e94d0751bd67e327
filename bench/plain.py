"""Plain veth pairs and a plain bridge, of the same shape as an engine's, in a namespace where nothing filters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from drivers.kernel.address import add_address
from drivers.kernel.bridge import add_bridge
from drivers.kernel.link import add_veth, delete_link, set_up
from drivers.kernel.namespace import new_namespace, open_in
from drivers.kernel.netlink import Netlink
from drivers.kernel.route import add_route

_LOOPBACK = 1
OUTSIDE_LINK = "nmbout"


@dataclass(frozen=True, slots=True)
class Route:
    """From where to where: a client's and a server's namespace, and the address that leads from one to the other."""

    client: Path
    server: Path
    address: str


@contextmanager
def plain() -> Iterator[tuple[Route, Route]]:
    """From one port of a bridge to another, and from outside, routed, to a port of it."""
    with ExitStack() as undo:
        host, first, second = (_namespace(undo) for _ in range(3))
        with Netlink(host) as links:
            links.apply([add_bridge("br0")])
            bridge = _index(links, "br0")
            links.apply([add_address(bridge, IPv4Interface("10.98.0.1/24")), set_up(bridge)])
            for number, place in enumerate((first, second)):
                with _opened(place) as descriptor:
                    links.apply([add_veth(f"port{number}", "eth0", descriptor, master=bridge, up=True)])
                _configure(place, f"10.98.0.{2 + number}/24", "10.98.0.1")
        open_in(host, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        client = undo.enter_context(outside(host, "10.96.0"))
        yield Route(second, first, "10.98.0.2"), Route(client, first, "10.98.0.2")


@contextmanager
def outside(host: Path | None, prefix: str) -> Iterator[Path]:
    """A namespace that stands for another machine: one veth pair away, at PREFIX.2; the host is PREFIX.1 to it.

    Args:
        host: None is our own namespace.
    """
    with ExitStack() as undo:
        place = _namespace(undo)
        with Netlink(host) as links:
            with _opened(place) as descriptor:
                links.apply([add_veth(OUTSIDE_LINK, "eth0", descriptor, up=True)])
            undo.callback(_delete, host)
            links.apply([add_address(_index(links, OUTSIDE_LINK), IPv4Interface(f"{prefix}.1/24"))])
        _configure(place, f"{prefix}.2/24", f"{prefix}.1")
        yield place


def _delete(host: Path | None) -> None:
    with Netlink(host) as links:
        links.apply([delete_link(OUTSIDE_LINK)])


def _configure(place: Path, address: str, gateway: str) -> None:
    with Netlink(place) as links:
        link = _index(links, "eth0")
        links.apply(
            [
                set_up(_LOOPBACK),
                add_address(link, IPv4Interface(address)),
                set_up(link),
                add_route(IPv4Network("0.0.0.0/0"), via=IPv4Address(gateway), ifindex=link),
            ]
        )


def _namespace(undo: ExitStack) -> Path:
    descriptor = new_namespace()
    undo.callback(os.close, descriptor)
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


@contextmanager
def _opened(place: Path) -> Iterator[int]:
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _index(links: Netlink, name: str) -> int:
    found = links.index(name)
    assert found is not None, f"{name} has just been made"
    return found
