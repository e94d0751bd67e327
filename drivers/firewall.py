"""The engine's one nftables table: isolation, translation and published ports.

The rules are in firewall.nft, to be read there. Here its sets and maps are filled: one transaction
for each operation, as large as the change and not as what exists already. Adding what is there and
removing what is gone are no errors.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from drivers.api import IPAddress, Protocol_
from drivers.kernel.errors import KernelError
from drivers.kernel.nft import NftWorker

_NUMBERS: dict[Protocol_, int] = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES: dict[int, Protocol_] = {number: name for name, number in _NUMBERS.items()}
_CONTENTS = (
    "bridges",
    "internal",
    "masqueraded",
    "same_bridge",
    "within",
    "ports4",
    "ports4_any",
    "ports6",
    "ports6_any",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRules:
    """What the firewall knows of a network.

    Args:
        bridge: Name of its link on the host.
        icc: Containers of the network reach each other.
        masquerade: Outside they are seen by the host's address.
    """

    bridge: str
    internal: bool = False
    icc: bool = True
    masquerade: bool = True


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
    def map(self) -> str:
        return f"ports{self.target.version}" + ("" if self.host_address else "_any")

    @property
    def key(self) -> str:
        asked = f"{_NUMBERS[self.protocol]} . {self.host_port}"
        return f"{self.host_address} . {asked}" if self.host_address else asked

    @property
    def element(self) -> str:
        return f"{self.key} : {self.target} . {self.target_port}"


class Firewall:
    """The table of one engine; safe to use from several threads.

    Args:
        root_id: Eight hexadecimal digits.
    """

    def __init__(self, nft: NftWorker, root_id: str) -> None:
        self._nft = nft
        self.table = f"inet netmodel_{root_id}"

    def install(self) -> None:
        """Write the rules; elements that are there already stay, and so does what is in the user chain.

        Raises:
            KernelError: As do all the others: the kernel refused, and nothing was changed.
        """
        self._run(_rules(self.table), "write the firewall's rules")

    def restore(self, networks: Iterable[NetworkRules], publications: Iterable[Publication]) -> None:
        """Make the table exactly this, whatever it held and even if it was flushed or deleted.

        One transaction: no packet meets the table in between.
        """
        script = [_rules(self.table)]
        script += [f"flush {'set' if _is_set(name) else 'map'} {self.table} {name}" for name in _CONTENTS]
        script += self._elements("add", [element for one in networks for element in _of_network(one)])
        script += self._elements("add", [(one.map, one.element) for one in publications])
        self._run("\n".join(script) + "\n", "restore the firewall")

    def uninstall(self) -> None:
        """Delete the table, user chain included."""
        self._run(f"table {self.table}\ndelete table {self.table}\n", "delete the firewall's table")

    def has_user_rules(self) -> bool:
        """Somebody wrote rules into the user chain, which would go with the table."""
        listing = self._nft.run(f"list chain {self.table} user\n")
        return bool(re.search(r"chain user \{\s*[^\s}]", listing))

    def installed(self) -> bool:
        """The table exists; someone may have flushed the ruleset."""
        try:
            self._nft.run(f"list chain {self.table} user\n")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def add_network(self, network: NetworkRules) -> None:
        """Protect and translate a network from now on; what was said of its bridge before is replaced."""
        elements = _of_network(network)
        try:
            self._run("\n".join(self._elements("add", elements)) + "\n", f"add {network.bridge} to the firewall")
        except KernelError as error:
            if error.errno != errno.EEXIST:  # the verdict was another one
                raise
            self.remove_network(network.bridge)
            self._run("\n".join(self._elements("add", elements)) + "\n", f"add {network.bridge} to the firewall")

    def remove_network(self, bridge: str) -> None:
        """Forget a bridge's network."""
        # Adding first makes removing what is not there harmless, in the same transaction. Not so for
        # a verdict, which may be there as another one.
        every = _of_network(NetworkRules(bridge=bridge, internal=True))
        sets = [(name, element) for name, element in every if _is_set(name)]
        script = self._elements("add", sets) + self._elements("delete", sets)
        verdict = self._elements("delete", [("within", f'"{bridge}" . "{bridge}"')])
        asked = f"remove {bridge} from the firewall"
        try:
            self._run("\n".join(script + verdict) + "\n", asked)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            self._run("\n".join(script) + "\n", asked)

    def publish(self, publications: Sequence[Publication]) -> None:
        """Send each port to its container, all of them or none.

        Raises:
            KernelError: EEXIST if a port goes to another container already.
        """
        if publications:
            added = self._elements("add", [(one.map, one.element) for one in publications])
            self._run("\n".join(added) + "\n", "publish ports")

    def unpublish(self, publications: Sequence[Publication]) -> None:
        """Stop sending the ports there; what goes elsewhere by now is left alone."""
        if not publications:
            return
        # The kernel removes by key, whatever the value. Adding first, in the same transaction, makes
        # a key that goes elsewhere by now a refusal, and one that is gone none.
        elements = [(one.map, one.element) for one in publications]
        script = self._elements("add", elements) + self._elements("delete", elements)
        try:
            self._run("\n".join(script) + "\n", "withdraw published ports")
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            there = self.published()
            self.unpublish([one for one in publications if one in there])

    def published(self) -> frozenset[Publication]:
        """What the kernel's maps hold."""
        found: set[Publication] = set()
        for name in ("ports4", "ports4_any", "ports6", "ports6_any"):
            listing = self._nft.run(f"list map {self.table} {name}\n")
            found.update(_read(element) for element in _elements_of(listing))
        return frozenset(found)

    def bridges(self) -> frozenset[str]:
        """The bridges that the kernel's sets know as ours."""
        listing = self._nft.run(f"list set {self.table} bridges\n")
        return frozenset(element.strip('"') for element in _elements_of(listing))

    def listing(self) -> str:
        """The whole table in nft's notation; "" when there is none."""
        return self._nft.list_table(self.table)

    def _elements(self, verb: str, elements: Sequence[tuple[str, str]]) -> list[str]:
        """One command a set, with all its elements: 10 µs an element, where a command each costs 25."""
        grouped: dict[str, list[str]] = {}
        for name, element in elements:
            grouped.setdefault(name, []).append(element)
        return [f"{verb} element {self.table} {name} {{ {', '.join(found)} }}" for name, found in grouped.items()]

    def _run(self, script: str, asked: str) -> None:
        self._nft.run(script, asked=asked)


@cache
def _rules(table: str) -> str:
    text = Path(__file__).with_name("firewall.nft").read_text()
    return re.sub(r"\bTABLE\b", table, re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))


def _is_set(name: str) -> bool:
    return name in ("bridges", "internal", "masqueraded", "same_bridge")


def _of_network(network: NetworkRules) -> list[tuple[str, str]]:
    bridge = f'"{network.bridge}"'
    pair = f"{bridge} . {bridge}"
    elements = [
        ("bridges", bridge),
        ("same_bridge", pair),
        ("within", f"{pair} : {'accept' if network.icc else 'drop'}"),
    ]
    if network.internal:
        elements.append(("internal", bridge))
    if network.masquerade:
        elements.append(("masqueraded", bridge))
    return elements


def _elements_of(listing: str) -> list[str]:
    found = re.search(r"elements = \{(.*?)\}", listing, re.DOTALL)
    return [element.strip() for element in found[1].split(",")] if found else []


def _read(element: str) -> Publication:
    asked, _, answered = element.partition(" : ")
    *address, protocol, port = asked.split(" . ")
    target, target_port = answered.split(" . ")
    return Publication(
        protocol=_NAMES[int(protocol)] if protocol.isdigit() else _name(protocol),
        host_port=int(port),
        target=ip_address(target),
        target_port=int(target_port),
        host_address=ip_address(address[0]) if address else None,
    )


def _name(protocol: str) -> Protocol_:
    return next(name for name in _NUMBERS if name == protocol)
