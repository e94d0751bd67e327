"""Ports and pairs as elements of the firewall's sets and maps: as nft writes them, and as the kernel takes them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from drivers.api import IPAddress, Pair, Protocol_
from drivers.kernel.nft_elements import packed_element

_NUMBERS: dict[Protocol_, int] = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES: dict[int, Protocol_] = {number: name for name, number in _NUMBERS.items()}
_PROTOCOL_AND_PORT = struct.Struct("!B3xH2x")
_PORT = struct.Struct("!H2x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One published port in one address family.

    Args:
        host_address: Of the family of target; None is every address of the host.
    """

    protocol: Protocol_
    host_port: int
    target: IPAddress
    target_port: int
    host_address: IPAddress | None = None

    @property
    def where(self) -> str:
        """The map it is in."""
        return f"ports{self.target.version}" + ("" if self.host_address else "_any")

    @property
    def key(self) -> str:
        asked = f"{_NUMBERS[self.protocol]} . {self.host_port}"
        return f"{self.host_address!s} . {asked}" if self.host_address else asked

    @property
    def element(self) -> str:
        # As !s: to format an address takes several times as long, and there may be ten thousand.
        return f"{self.key} : {self.target!s} . {self.target_port}"

    @property
    def packed(self) -> bytes:
        asked = _PROTOCOL_AND_PORT.pack(_NUMBERS[self.protocol], self.host_port)
        if self.host_address:
            asked = self.host_address.packed + asked
        return packed_element(asked, self.target.packed + _PORT.pack(self.target_port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A port of a container that may be reached at the container's own address."""

    protocol: Protocol_
    target: IPAddress
    target_port: int

    @property
    def where(self) -> str:
        """The set it is in."""
        return f"open{self.target.version}"

    @property
    def element(self) -> str:
        return f"{self.target!s} . {_NUMBERS[self.protocol]} . {self.target_port}"

    @property
    def packed(self) -> bytes:
        return packed_element(self.target.packed + _PROTOCOL_AND_PORT.pack(_NUMBERS[self.protocol], self.target_port))


@dataclass(frozen=True, slots=True)
class Linked:
    """Two containers of a network that keeps its containers apart: one reaches a port of the other."""

    pair: Pair

    @property
    def where(self) -> str:
        """The set it is in."""
        return f"linked{self.pair.target.version}"

    @property
    def element(self) -> str:
        pair = self.pair
        return f"{pair.source} . {pair.target} . {_NUMBERS[pair.protocol]} . {pair.port}"

    @property
    def packed(self) -> bytes:
        pair = self.pair
        asked = _PROTOCOL_AND_PORT.pack(_NUMBERS[pair.protocol], pair.port)
        return packed_element(pair.source.packed + pair.target.packed + asked)


Port = Publication | Opening
Element = Port | Linked


def listed(listing: str) -> Iterator[str]:
    """The elements of a set or map that nft has listed."""
    found = re.search(r"elements = \{(.*?)\}", listing, re.DOTALL)
    return (element.strip() for element in found[1].split(",")) if found else iter(())


def read_publication(element: str) -> Publication:
    asked, _, answered = element.partition(" : ")
    *address, protocol, port = asked.split(" . ")
    target, target_port = answered.split(" . ")
    return Publication(
        protocol=_protocol(protocol),
        host_port=int(port),
        target=ip_address(target),
        target_port=int(target_port),
        host_address=ip_address(address[0]) if address else None,
    )


def read_opening(element: str) -> Opening:
    target, protocol, port = element.split(" . ")
    return Opening(protocol=_protocol(protocol), target=ip_address(target), target_port=int(port))


def _protocol(text: str) -> Protocol_:
    if text.isdigit():
        return _NAMES[int(text)]
    return next(name for name in _NUMBERS if name == text)
