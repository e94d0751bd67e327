"""Who is called what on which network.

Written by whoever attaches endpoints, read by the name service; each change is one step for readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from threading import Lock

from netmodel.model import IPAddress, PortConfig


@dataclass(frozen=True, slots=True)
class _Member:
    """One endpoint: all names it answers to, the one that a reverse query gives, its addresses and its ports."""

    network_id: str
    names: tuple[str, ...]
    canonical: str
    addresses: tuple[IPAddress, ...]
    ports: tuple[PortConfig, ...] = ()


class Zone:
    """The names and addresses of all endpoints. Safe to use from several threads.

    Attributes:
        generation: Grows with every change, so that what was looked up before it can be told.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._lock = Lock()
        self._members: dict[str, _Member] = {}
        # By network and name, then by endpoint: a name may be shared, as replicas of a service do.
        self._named: dict[tuple[str, str], dict[str, tuple[IPAddress, ...]]] = {}
        self._addressed: dict[tuple[str, IPAddress], str] = {}

    def attach(
        self,
        network_id: str,
        endpoint_id: str,
        names: Sequence[str],
        addresses: Sequence[IPAddress],
        network_name: str = "",
        ports: Sequence[PortConfig] = (),
    ) -> None:
        """Let an endpoint be found on its network; what it was before is replaced.

        Args:
            names: In any case; the first one, with the network's name, is what a reverse query gives.
            addresses: With or without a prefix length.
            network_name: Makes NAME.NETWORK another way to say each name.
        """
        plain = [_key(name) for name in names]
        suffix = f".{_key(network_name)}" if network_name else ""
        qualified = [name + suffix for name in plain]
        member = _Member(
            network_id,
            tuple(dict.fromkeys(plain + qualified)),
            qualified[0] if qualified else "",
            tuple(dict.fromkeys(_bare(address) for address in addresses)),
            tuple(ports),
        )
        with self._lock:
            self._remove(endpoint_id)
            self._add(endpoint_id, member)
            self.generation += 1

    def detach(self, endpoint_id: str) -> None:
        """Forget an endpoint; an unknown one is no error."""
        with self._lock:
            self._remove(endpoint_id)
            self.generation += 1

    def rename(self, endpoint_id: str, names: Sequence[str], network_name: str = "") -> None:
        """Give an endpoint other names; an unknown one is no error."""
        with self._lock:
            member = self._members.get(endpoint_id)
        if member is not None:
            self.attach(member.network_id, endpoint_id, names, member.addresses, network_name, member.ports)

    def addresses(self, networks: Iterable[str], name: str) -> tuple[IPAddress, ...] | None:
        """Say who is called so on the first of these networks that knows the name; None if none does."""
        wanted = _key(name)
        with self._lock:
            for network_id in networks:
                found = self._named.get((network_id, wanted))
                if found is not None:
                    return tuple(address for addresses in found.values() for address in addresses)
        return None

    def name_of(self, networks: Iterable[str], address: IPAddress) -> str | None:
        """Say what the owner of an address is called."""
        with self._lock:
            for network_id in networks:
                endpoint_id = self._addressed.get((network_id, address))
                if endpoint_id is not None:
                    return self._members[endpoint_id].canonical or None
        return None

    def ports(self, networks: Iterable[str], name: str) -> tuple[tuple[str, PortConfig], ...] | None:
        """Say what who is called so serves: each one's own name with a port; None if nobody is called so."""
        wanted = _key(name)
        with self._lock:
            for network_id in networks:
                found = self._named.get((network_id, wanted))
                if found is not None:
                    members = [self._members[endpoint_id] for endpoint_id in found]
                    return tuple((member.canonical, port) for member in members for port in member.ports)
        return None

    def _add(self, endpoint_id: str, member: _Member) -> None:
        self._members[endpoint_id] = member
        for name in member.names:
            self._named.setdefault((member.network_id, name), {})[endpoint_id] = member.addresses
        for address in member.addresses:
            self._addressed[member.network_id, address] = endpoint_id

    def _remove(self, endpoint_id: str) -> None:
        member = self._members.pop(endpoint_id, None)
        if member is None:
            return
        for name in member.names:
            sharers = self._named[member.network_id, name]
            del sharers[endpoint_id]
            if not sharers:
                del self._named[member.network_id, name]
        for address in member.addresses:
            # Another endpoint may have taken the address over before this one was forgotten.
            if self._addressed.get((member.network_id, address)) == endpoint_id:
                del self._addressed[member.network_id, address]


def _key(name: str) -> str:
    return name.removesuffix(".").lower()


def _bare(address: IPAddress) -> IPAddress:
    return address.ip if isinstance(address, IPv4Interface | IPv6Interface) else address
