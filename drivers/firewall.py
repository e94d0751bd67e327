"""The engine's one nftables table: isolation, translation and published ports.

The rules are in firewall.nft, to be read there. Here its sets and maps are filled: one transaction
for each operation, as large as the change and not as what exists already. Adding what is there and
removing what is gone are no errors.

What was filled in is remembered, so that all of it comes back after somebody else has flushed the
ruleset, whatever else is being changed at that moment.
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from drivers.elements import Element, Opening, Publication, listed, read_opening, read_publication
from drivers.kernel.conntrack import NETLINK_NETFILTER
from drivers.kernel.errors import KernelError
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.nft_elements import add_elements, delete_elements
from drivers.kernel.nft_rules import Rules
from drivers.kernel.wire import Request
from drivers.network_rules import NetworkRules, every_element

_SETS = (
    *("bridges", "beneath", "internal", "same_bridge", "masqueraded", "masqueraded4", "masqueraded6"),
    *("unprotected", "routed", "trusted", "open_to_all", "open4", "open6", "linked4", "linked6"),
)
_PORTS = ("ports4", "ports4_any", "ports6", "ports6_any")
_MAPS = ("source4", "source6", "within", *_PORTS)

# So often a change is made again when somebody flushes the ruleset under our hands.
_PATIENCE = 20

Change = Callable[[str, str, Sequence[bytes], str], Iterator[Request]]


_ALL_BITS = 0xFFFFFFFF
_NUMBER = "0x[0-9a-f]+|0|[1-9][0-9]*"


@dataclass(frozen=True, slots=True)
class Mark:
    """Which packets are meant by their mark: those that have this value in the bits of the mask."""

    value: int
    mask: int = _ALL_BITS

    @classmethod
    def read(cls, text: str) -> Mark:
        """ "2", "0x10" or "2/3".

        Raises:
            ValueError: It is none, or no packet could have it.
        """
        numbers = re.fullmatch(rf"({_NUMBER})(?:/({_NUMBER}))?", text, re.IGNORECASE)
        mark = numbers and cls(int(numbers[1], 0), int(numbers[2], 0) if numbers[2] else _ALL_BITS)
        if not mark or max(mark.value, mark.mask) > _ALL_BITS:
            raise ValueError(f"{text!r} is neither MARK nor MARK/MASK, numbers of 32 bits")
        if mark.value & ~mark.mask:
            raise ValueError(
                f"no packet has the mark {text}: {mark.value} has bits that the mask {mark.mask} leaves out"
            )
        return mark

    def __str__(self) -> str:
        return f"{self.value:#x}" + ("" if self.mask == _ALL_BITS else f"/{self.mask:#x}")


class Firewall:
    """The table of one engine; safe to use from several threads.

    Args:
        root_id: Eight hexadecimal digits.
        accepted: Packets with this mark reach every port of every network that is not internal.
    """

    def __init__(self, nft: NftWorker, root_id: str, accepted: Mark | None = None) -> None:
        self.nft = nft
        self.name = f"netmodel_{root_id}"
        self.table = f"inet {self.name}"
        self._lock = threading.RLock()
        self._netlink = Netlink(protocol=NETLINK_NETFILTER)
        self._rules = Rules(self._netlink, self.name)
        self._accepted = accepted
        self._networks: dict[str, NetworkRules] = {}  # by bridge
        self._ports: set[Element] = set()
        self._wanted = False
        self._written: dict[str, tuple[int, ...]] = {}  # handles of our rules
        self._users: tuple[int, ...] = ()
        self._user_chain = ""  # with its rules; "" without any

    # --- the whole table ------------------------------------------------------------------------

    def install(self) -> None:
        """Write the rules; elements that are there already stay, and so does what is in the user chain.

        Raises:
            KernelError: As do all the others: the kernel refused, and nothing was changed.
        """
        with self._lock:
            self.nft.run(_rules(self.table, self._accepted), asked="write the firewall's rules")
            self._wanted = True
            self._note()

    def restore(self, networks: Iterable[NetworkRules], ports: Iterable[Element]) -> None:
        """Make the table exactly this, whatever it held and even if it was flushed or deleted.

        One transaction: no packet meets the table in between.
        """
        with self._lock:
            self._networks = {network.bridge: network for network in networks}
            self._ports = set(ports)
            self._restore()

    def repair(self) -> bool:
        """Bring everything back if somebody deleted the table or rules of ours; says whether so.

        The administrator's own rules come back as they were, too, if they went with ours and there
        are no others by now.
        """
        with self._lock:
            ours, users = self._look()
            if not self._wanted:
                return False
            if ours and ours == self._written:
                if users != self._users:
                    self._note()
                return False
            lost = "" if users else self._user_chain
            self._restore()
            if lost:
                with suppress(KernelError):  # it spoke of a set that is gone as well
                    self.nft.run(f"table {self.table} {{\n{lost}\n}}\n", asked="restore the user chain")
                    self._note()
            return True

    def uninstall(self) -> None:
        """Delete the table, user chain included."""
        with self._lock:
            self._wanted = False
            self._networks.clear()
            self._ports.clear()
            self.nft.run(f"table {self.table}\ndelete table {self.table}\n", asked="delete the firewall's table")

    def close(self) -> None:
        """Let go of the kernel; the rules stay."""
        self._netlink.close()

    def has_user_rules(self) -> bool:
        """Somebody wrote rules into the user chain, which would go with the table."""
        return bool(self._look()[1])

    @property
    def user_chain(self) -> str:
        """The administrator's rules as a table whose chain is hooked itself; "" without any."""
        with self._lock:
            self.repair()  # reads it again if it has changed
            hook = "type filter hook forward priority filter; policy accept;"
            return self._user_chain and f"table {self.table} {{\n{self._user_chain}\n}}\n".replace(
                "chain user {", f"chain user {{\n{hook}", 1
            )

    def installed(self) -> bool:
        """The rules are there; someone may have flushed the ruleset."""
        return bool(self._look()[0])

    def listing(self) -> str:
        """The whole table in nft's notation; "" when there is none."""
        return self.nft.list_table(self.table)

    # --- networks -----------------------------------------------------------------------------

    def add_network(self, network: NetworkRules) -> None:
        """Protect and translate a network from now on; what was said of its bridge before is replaced."""
        asked = f"add {network.bridge} to the firewall"
        with self._lock:
            before = self._networks.get(network.bridge)
            if before is not None and before != network:
                self.remove_network(network.bridge)
            try:
                self._change(self._elements("add", network.elements), asked)
            except KernelError as error:
                if error.errno != errno.EEXIST:  # an earlier engine said something else of it
                    raise
                self.remove_network(network.bridge)
                self._change(self._elements("add", network.elements), asked)
            self._networks[network.bridge] = network

    def remove_network(self, bridge: str) -> None:
        """Forget a bridge's network."""
        asked = f"remove {bridge} from the firewall"
        with self._lock:
            known = self._networks.get(bridge)
            elements = known.elements if known is not None else every_element(bridge)
            if known is not None and known.beneath:
                # Networks that are other VLANs of the same bridge need that still.
                others = {one.beneath for one in self._networks.values() if one.bridge != bridge}
                elements = [one for one in elements if one[0] != "beneath" or known.beneath not in others]
            # Adding first makes removing what is not there harmless, in the same transaction. Not so in
            # a map, where it may be there as something else.
            in_sets = [one for one in elements if one[0] in _SETS]
            script = self._elements("add", in_sets) + self._elements("delete", in_sets)
            keys = [(name, element.partition(" : ")[0]) for name, element in elements if name in _MAPS]
            try:
                self.nft.run("\n".join(script + self._elements("delete", keys)) + "\n", asked=asked)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                self._remove_what_is_there(script, keys, asked)
            self._networks.pop(bridge, None)

    def _remove_what_is_there(self, script: list[str], keys: list[tuple[str, str]], asked: str) -> None:
        self._change(script, asked)
        for key in keys:
            with suppress(KernelError):
                self.nft.run("\n".join(self._elements("delete", [key])) + "\n", asked=asked)

    def bridges(self) -> frozenset[str]:
        """The bridges that the kernel's sets know as ours."""
        listing = self.nft.run(f"list set {self.table} bridges\n")
        return frozenset(element.strip('"') for element in listed(listing))

    def knows(self, link: str) -> bool:
        """Whether a link is a network's, or the bridge beneath one."""
        with self._lock:
            return any(link in (one.bridge, one.beneath) for one in self._networks.values())

    def is_internal(self, bridge: str) -> bool:
        """Whether a link is the bridge of an internal network."""
        network = self._networks.get(bridge)
        return network is not None and network.internal

    # --- ports --------------------------------------------------------------------------------

    def publish(self, ports: Sequence[Element]) -> None:
        """Send each port to its container, or open it there, or to one other: all of them or none.

        Raises:
            KernelError: EEXIST if a port goes to another container already.
        """
        if not ports:
            return
        with self._lock:
            self._change_ports(ports, "publish ports", add_elements)
            self._ports.update(ports)

    def unpublish(self, ports: Sequence[Element]) -> None:
        """Stop sending the ports there; what goes elsewhere by now is left alone."""
        if not ports:
            return
        with self._lock:
            self._ports.difference_update(ports)
            # The kernel removes by key, whatever the value. Adding first, in the same transaction, makes
            # a key that goes elsewhere by now a refusal, and one that is gone none.
            try:
                self._change_ports(ports, "withdraw published ports", add_elements, delete_elements)
            except KernelError as error:
                if error.errno != errno.EEXIST:
                    raise
                there = self.published()
                self.unpublish([one for one in ports if not isinstance(one, Publication) or one in there])

    def published(self) -> frozenset[Publication]:
        """What the kernel's maps hold."""
        found: set[Publication] = set()
        for name in _PORTS:
            listing = self.nft.run(f"list map {self.table} {name}\n")
            found.update(map(read_publication, listed(listing)))
        return frozenset(found)

    def opened(self) -> frozenset[Opening]:
        """What the kernel's sets of open ports hold."""
        found: set[Opening] = set()
        for name in ("open4", "open6"):
            listing = self.nft.run(f"list set {self.table} {name}\n")
            found.update(map(read_opening, listed(listing)))
        return frozenset(found)

    # --- scripts --------------------------------------------------------------------------------

    def _restore(self) -> None:
        script = [_rules(self.table, self._accepted)]
        script += [f"flush set {self.table} {name}" for name in _SETS]
        script += [f"flush map {self.table} {name}" for name in _MAPS]
        script += self._elements("add", [element for one in self._networks.values() for element in one.elements])
        script += self._elements("add", {(one.where, one.element) for one in self._ports})
        self.nft.run("\n".join(script) + "\n", asked="restore the firewall")
        self._wanted = True
        self._note()

    def _note(self) -> None:
        """Remember which rules there are, and what the administrator's say."""
        self._written, users = self._look()
        if users == self._users:
            return
        listing = ""
        if users:
            try:
                listing = self.nft.run(f"list chain {self.table} user\n")
            except KernelError:  # flushed between the two looks: what we knew is what went
                return
        found = re.search(r"chain user \{.*?\n\t\}", listing, re.DOTALL)
        self._users, self._user_chain = users, found[0] if found else ""

    def _look(self) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
        """The handles of our rules, and of those in the user chain."""
        ours = self._rules.handles()
        return ours, ours.pop("user", ())

    def _change(self, script: Sequence[str], asked: str) -> None:
        text = "\n".join(script) + "\n"
        self._insist(lambda: self.nft.run(text, asked=asked))

    def _change_ports(self, ports: Iterable[Element], asked: str, *changes: Change) -> None:
        """Make the changes, one after the other, in one transaction."""
        placed: dict[str, dict[bytes, None]] = {}
        for one in ports:
            placed.setdefault(one.where, {})[one.packed] = None
        requests = [
            request
            for change in changes
            for name, elements in placed.items()
            for request in change(self.name, name, tuple(elements), asked)
        ]
        self._insist(lambda: self._netlink.transact(requests))

    def _insist(self, change: Callable[[], object]) -> None:
        for _ in range(_PATIENCE):
            try:
                change()
                return
            except KernelError as error:
                # Somebody flushed the ruleset a moment ago, and we were quicker than the news of it.
                if error.errno != errno.ENOENT or not self.repair():
                    raise
        change()

    def _elements(self, verb: str, elements: Iterable[tuple[str, str]]) -> list[str]:
        """One command a set, with all its elements: 10 µs an element, where a command each costs 25."""
        grouped: dict[str, list[str]] = {}
        for name, element in elements:
            grouped.setdefault(name, []).append(element)
        return [f"{verb} element {self.table} {name} {{ {', '.join(found)} }}" for name, found in grouped.items()]


@cache
def _rules(table: str, accepted: Mark | None) -> str:
    text = re.sub(r"^\s*#.*\n", "", Path(__file__).with_name("firewall.nft").read_text(), flags=re.MULTILINE)
    constants = {"TABLE": table}
    if accepted is None:
        text = re.sub(r".*\bMARK\b.*\n", "", text)
    else:
        constants |= {"MARK": str(accepted.value), "MASK": str(accepted.mask)}
    return re.sub(r"\b(TABLE|MARK|MASK)\b", lambda found: constants[found[0]], text)
