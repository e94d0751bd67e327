"""Whether a published port can be reached from outside, given everybody's rules on this host and not only ours.

A verdict "accept" of ours ends our chain and no other: every table with a chain on the same hook
decides as well, so what ufw, firewalld or a line in nftables.conf drops is dropped. Here one packet
is led through all of them on paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Literal

from drivers.api import IPAddress, Protocol_
from drivers.ruleset import VERDICTS, Chain, Table, read, values

State = Literal["open", "partly", "blocked", "host"]
_NUMBERS = {"tcp": "6", "udp": "17", "sctp": "132"}
_DSTNAT = -100
_OURS = re.compile(r"inet netmodel_[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Exposure:
    """Args:
    state: "partly" is open to some, and rules that we cannot judge decide to whom; "host" is meant
        for the host alone.
    why: Who blocks it: "table ip filter chain FORWARD (policy drop)".
    """

    state: State
    why: str = ""

    def __str__(self) -> str:
        words = {
            "open": "open",
            "partly": "open to some only, by",
            "blocked": "blocked by",
            "host": "for the host alone",
        }
        return f"{words[self.state]} {self.why}".strip()


HOST_ONLY = Exposure("host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """The first packet of a connection to, or from, a container.

    Args:
        port: 0 is any.
        arrives, leaves: Names of links; "" is one that we do not know.
        destination: None is any.
        translated: Its destination was rewritten by us.
        local: It is still on its way to an address of the host.
    """

    version: int
    protocol: Protocol_
    port: int
    destination: IPAddress | None = None
    arrives: str = ""
    leaves: str = ""
    translated: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class _End:
    """One way in which a chain may end for the packet."""

    verdict: str  # "accept", "drop", or "fall": through the chain's end
    why: str = ""


def tables_of_others(names: str) -> list[str]:
    """Of "nft list tables", those that no engine of netmodel made; of families that see IP packets as such."""
    found = re.findall(r"^table ((?:ip|ip6|inet) \S+)$", names, re.MULTILINE)
    return [name for name in found if not _OURS.fullmatch(name)]


def exposure(listing: str, arrives: str, host_port: int, packet: Packet) -> Exposure:
    """What becomes of a packet to a published port.

    Args:
        listing: The tables of others, as nft lists them, and our own user chain.
        arrives: The link it comes by.
        host_port: 0 for a port that is reached at the container's own address.
        packet: As it is when it is forwarded to the container.
    """
    asked = replace(packet, arrives=arrives, leaves="")
    if host_port:
        asked = replace(asked, port=host_port, destination=None, translated=False, local=True)
    forwarded = replace(packet, arrives=arrives)
    found = Exposure("open")
    for table in _tables(listing):
        for chain in table.chains.values():
            hook = chain.hook
            if hook is None or hook.type == "nat" or not _sees(table, packet):
                continue
            if hook.name == "prerouting":
                seen = asked if hook.priority < _DSTNAT else replace(forwarded, leaves="")
            elif hook.name == "forward":
                seen = forwarded
            else:
                continue
            found = _worse(found, _judge(table, chain, seen))
    return found


def arrival(listing: str, arrives: str, packet: Packet) -> Exposure:
    """What becomes of a packet to a port of the host itself.

    Args:
        arrives: The link it comes by.
    """
    seen = replace(packet, arrives=arrives)
    found = Exposure("open")
    for table in _tables(listing):
        for chain in table.chains.values():
            hook = chain.hook
            if hook is not None and hook.name in ("prerouting", "input") and hook.type != "nat" and _sees(table, seen):
                found = _worse(found, _judge(table, chain, seen))
    return found


def way_out(listing: str, bridge: str, leaves: str) -> Exposure:
    """What becomes of a packet that a container sends to the world."""
    packet = Packet(version=4, protocol="tcp", port=443, arrives=bridge, leaves=leaves)
    found = Exposure("open")
    for table in _tables(listing):
        for chain in table.chains.values():
            if chain.hook is not None and chain.hook.name == "forward" and _sees(table, packet):
                found = _worse(found, _judge(table, chain, packet))
    return found


@lru_cache(maxsize=4)
def _tables(listing: str) -> list[Table]:
    """Read once for all of a container's ports; not to be changed."""
    return read(listing)


def _sees(table: Table, packet: Packet) -> bool:
    return table.family == "inet" or table.family == ("ip" if packet.version == 4 else "ip6")


def _worse(one: Exposure, other: Exposure) -> Exposure:
    order: tuple[State, ...] = ("open", "partly", "blocked")
    return other if order.index(other.state) > order.index(one.state) else one


def _judge(table: Table, chain: Chain, packet: Packet) -> Exposure:
    assert chain.hook is not None
    ends = list(_Walk(table, packet).through(chain, 0))
    where = f"table {table.name} chain {chain.name}"
    drops = [end.why for end in ends if end.verdict == "drop"]
    lets_through = any(end.verdict == "accept" for end in ends)
    if any(end.verdict == "fall" for end in ends):
        if chain.hook.policy == "drop":
            drops.append(f"{where} (policy drop)")
        else:
            lets_through = True
    if not drops:
        return Exposure("open")
    return Exposure("partly" if lets_through else "blocked", drops[-1])


@dataclass(frozen=True, slots=True)
class _Walk:
    table: Table
    packet: Packet

    def through(self, chain: Chain, depth: int) -> Iterator[_End]:
        """Every way the chain may end, as far as we can tell."""
        for rule in chain.rules:
            goes_on = True
            for certain, verdict in self._outcomes(rule):
                ends, on = self._follow(chain, rule, verdict, depth)
                yield from ends
                if certain and not on:
                    goes_on = False
            if not goes_on:
                return
        yield _End("fall")

    def _follow(self, chain: Chain, rule: Sequence[str], verdict: Sequence[str], depth: int) -> tuple[list[_End], bool]:
        """How the packet ends by a verdict, and whether it may come back to the rule after this one."""
        word = verdict[0]
        if word == "accept":
            return [_End("accept")], False
        if word in ("drop", "reject"):
            return [_End("drop", f"table {self.table.name} chain {chain.name} ({' '.join(rule)})")], False
        if word == "queue":  # a program decides
            return [_End("accept"), _End("drop", f"table {self.table.name} chain {chain.name} (queue)")], False
        if word == "return":
            return [_End("fall")], False
        if word in ("jump", "goto") and len(verdict) > 1 and depth < 16:
            called = self.table.chains.get(verdict[1])
            ends = list(self.through(called, depth + 1)) if called else [_End("fall")]
            if word == "goto":
                return ends, False
            return [end for end in ends if end.verdict != "fall"], any(end.verdict == "fall" for end in ends)
        return [], True

    def _outcomes(self, rule: Sequence[str]) -> Iterator[tuple[bool, Sequence[str]]]:
        """The verdicts that a rule may have for the packet, each with whether it is certain."""
        certain, at = True, 0
        while at < len(rule):
            if rule[at] in VERDICTS:
                yield certain, rule[at : at + 2]
                return
            if rule[at] in ("comment", "prefix", "level", "flags", "group") or rule[at] in ("counter", "log"):
                at += 1 if rule[at] in ("counter", "log") else 2
                continue
            field, length = _field(rule, at)
            if not field:
                certain, at = False, at + 1
                continue
            at += length
            if at < len(rule) and rule[at] == "vmap":
                yield from self._of_map(field, rule[at + 1 :], certain)
                return
            negated = at < len(rule) and rule[at] == "!="
            at += at < len(rule) and rule[at] in ("!=", "==")
            alternatives, taken = values(rule[at:], self.table.sets)
            at += taken
            fits = self._fits_any(field, alternatives)
            if fits is None:
                certain = False
            elif fits is negated:
                return

    def _of_map(self, field: str, rest: Sequence[str], certain: bool) -> Iterator[tuple[bool, Sequence[str]]]:
        entries, _ = values(rest, self.table.sets)
        for entry in entries:
            if ":" not in entry:
                continue
            cut = entry.index(":")
            fits = self._fits(field, entry[:cut])
            if fits is not False:
                yield certain and fits is True, entry[cut + 1 :]
            if fits:
                return

    def _fits_any(self, field: str, alternatives: Sequence[Sequence[str]]) -> bool | None:
        answers = [self._fits(field, value) for value in alternatives]
        if True in answers:
            return True
        return None if None in answers else False

    def _fits(self, field: str, value: Sequence[str]) -> bool | None:
        """Whether the packet has this value; None where we do not know."""
        if len(value) != 1:
            return None
        text, packet = value[0].strip('"'), self.packet
        if field == "ct state":
            return text in ("new", "untracked") if text != "untracked" else False
        if field == "ct status":
            return packet.translated if text == "dnat" else False if text in ("snat", "assured", "confirmed") else None
        if field in ("iifname", "iif"):
            return _same_link(packet.arrives, text)
        if field in ("oifname", "oif"):
            return _same_link(packet.leaves, text)
        if field in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
            return text in (packet.protocol, _NUMBERS[packet.protocol])
        if field == "meta nfproto":
            return text in (f"ipv{packet.version}", {4: "2", 6: "10"}[packet.version])
        if field.endswith(" dport"):
            if field.partition(" ")[0] not in ("th", packet.protocol):
                return False
            return _in_range(packet.port, text) if packet.port else None
        if field in ("ip daddr", "ip6 daddr"):
            return _at(packet.destination, text, field)
        if field == "fib daddr type":
            return packet.local if text == "local" else None
        return None


_FIELDS = (
    ("fib daddr type", 3),
    *((f"{protocol} dport", 2) for protocol in ("tcp", "udp", "sctp", "th")),
    *((name, 2) for name in ("ct state", "ct status", "meta l4proto", "meta nfproto")),
    *((name, 2) for name in ("ip protocol", "ip6 nexthdr", "ip daddr", "ip6 daddr", "ip saddr", "ip6 saddr")),
    *((name, 1) for name in ("iifname", "oifname", "iif", "oif")),
)


def _field(rule: Sequence[str], at: int) -> tuple[str, int]:
    """What a rule compares at this place, in one of the ways that we know."""
    for name, length in _FIELDS:
        # A concatenation ("iifname . oifname") is none of them.
        if " ".join(rule[at : at + length]) == name and "." not in rule[at + length : at + length + 1]:
            return name, length
    return "", 0


def _same_link(link: str, text: str) -> bool | None:
    if not link:
        return None
    return link.startswith(text[:-1]) if text.endswith("*") else link == text


def _in_range(port: int, text: str) -> bool | None:
    first, _, last = text.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        return None
    return int(first) <= port <= int(last or first)


def _at(address: IPAddress | None, text: str, field: str) -> bool | None:
    version = 4 if field.startswith("ip ") else 6
    if address is not None and address.version != version:
        return False
    if address is None:
        return None
    try:
        if "-" in text:
            first, last = (ip_address(end) for end in text.split("-"))
            return int(first) <= int(address) <= int(last)
        return address in ip_network(text)
    except ValueError:
        return None
