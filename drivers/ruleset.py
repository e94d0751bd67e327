"""Rules as nft lists them, read far enough to tell what happens to one packet.

Not a grammar of nft: of a rule, the comparisons that we can answer are read and all others are
"unknown", which is an answer, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(r'"[^"]*"|[{}]|[^\s{},"]+|,')
_BASE = re.compile(r"type (\w+) hook (\w+)(?: device \S+)? priority ([^;]+); policy (\w+);")
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}

VERDICTS = ("accept", "drop", "reject", "return", "continue", "queue", "jump", "goto")


@dataclass(frozen=True, slots=True)
class Hook:
    """Where the kernel enters a chain, and what becomes of what leaves it at its end."""

    type: str
    name: str
    priority: int
    policy: str


@dataclass(slots=True)
class Chain:
    name: str
    hook: Hook | None = None
    rules: list[list[str]] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """Args:
    name: With its family: "ip filter".
    sets: Elements of named sets and maps, as tokens.
    """

    name: str
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, list[str]] = field(default_factory=dict)

    @property
    def family(self) -> str:
        return self.name.partition(" ")[0]


def read(listing: str) -> list[Table]:
    """The tables of a listing ("nft list ruleset", or some of its tables)."""
    return [_read_table(name, body) for name, body in _blocks(listing, "table")]


def _read_table(name: str, body: str) -> Table:
    table = Table(name)
    for chain_name, text in _blocks(body, "chain"):
        table.chains[chain_name] = _read_chain(chain_name, text)
    for kind in ("set", "map"):
        for set_name, text in _blocks(body, kind):
            found = re.search(r"elements = \{(.*)\}", text, re.DOTALL)
            table.sets[set_name] = tokens(found[1]) if found else []
    return table


def _read_chain(name: str, text: str) -> Chain:
    chain = Chain(name)
    for line in _statements(text):
        base = _BASE.match(line)
        if base:
            chain.hook = Hook(base[1], base[2], _priority(base[3]), base[4])
        else:
            chain.rules.append(tokens(line))
    return chain


def _priority(text: str) -> int:
    """ "filter", "-100", "dstnat + 10"."""
    words = text.replace("+ ", "+").replace("- ", "-").split()
    return sum(_PRIORITIES[word] if word in _PRIORITIES else int(word) for word in words)


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _blocks(text: str, keyword: str) -> list[tuple[str, str]]:
    """Every "KEYWORD NAME { BODY }" that is not inside another such."""
    found = []
    for match in re.finditer(rf"^\s*{keyword} ([^{{]+?) \{{", text, re.MULTILINE):
        end = _closing(text, match.end())
        found.append((match[1], text[match.end() : end]))
    return found


def _closing(text: str, start: int) -> int:
    depth = 1
    for brace in re.finditer(r'"[^"]*"|[{}]', text[start:]):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return start + brace.start()
    return len(text)


def _statements(text: str) -> list[str]:
    """The lines of a chain, each with its braces closed: a long anonymous set goes over several."""
    found: list[str] = []
    pending = ""
    for line in text.splitlines():
        pending = f"{pending} {line.strip()}".strip()
        if pending and pending.count("{") == pending.count("}"):
            found.append(pending)
            pending = ""
    return found


def values(items: Sequence[str], sets: Mapping[str, list[str]]) -> tuple[list[list[str]], int]:
    """The alternatives that begin a list of tokens ("80", "{ 80, 443 }", "@ports"), and how many tokens they take."""
    if not items:
        return [], 0
    if items[0].startswith("@"):
        return _split(sets.get(items[0][1:], [])), 1
    if items[0] != "{":
        taken = 1
        while taken + 1 < len(items) and items[taken] == ",":
            taken += 2
        return _split(items[:taken]), taken
    end = items.index("}") if "}" in items else len(items)
    return _split(items[1:end]), end + 1


def _split(items: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for item in items:
        if item == ",":
            parts.append([])
        else:
            parts[-1].append(item)
    return [part for part in parts if part]
