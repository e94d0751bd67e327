"""x-expect: who reaches whom, in a list of lines like `a -> b: {icmp: true, within: 5s}`.

A line with `->` says that every probe in it arrives, one with `-/>` that none does. Each probe
becomes an Expectation of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal

from netmodel.project import Expectation
from netmodel.topology import units
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.keys import EXPECTATION
from netmodel.topology.value import Fields, Value

HOST = "host"  # the machine itself
_LINE = re.compile(r"(\S+)\s+(->|-/>)\s+(\S+)")
_FAMILIES: dict[str, Literal[4, 6]] = {"4": 4, "6": 6, "ipv4": 4, "ipv6": 6}
_FORM = 'write it like "- web -> db: {tcp: 5432}" or "- guest -/> db: {icmp: true}"'
DEFAULT_WITHIN_S = 2.0


def read(
    value: Value, services: Mapping[str, Value], networks: Collection[str], aliases: Collection[str]
) -> list[Expectation]:
    """Read the whole list.

    Args:
        networks: Keys of the file's networks.
        aliases: Further names that a container's DNS knows.
    """
    found: list[Expectation] = []
    for item in value.items():
        if item.is_mapping:
            lines = list(item.pairs().items())
        else:
            text = item.text("a line like a -> b: {icmp: true}")
            lines = [(text, item)] if text else []
        for name, line in lines:
            found += _Line(line, name, services, networks, aliases).expectations()
    return found


class _Line:
    """One line: its two ends and its probes."""

    def __init__(
        self,
        value: Value,
        text: str,
        services: Mapping[str, Value],
        networks: Collection[str],
        aliases: Collection[str],
    ) -> None:
        # The path would repeat the line's text: its index alone says where.
        bare = value.key.removesuffix(f".{text}")
        self._value = Value(value.source, value.node, bare, value.line, value.column)
        self._text = text
        self._services, self._networks, self._aliases = services, networks, aliases

    def expectations(self) -> list[Expectation]:
        match = _LINE.fullmatch(self._text.strip())
        if match is None:
            self._value.error_at_key(f'"{self._text}" is no expectation', _FORM)
            return []
        source, arrow, target = match.groups()
        self._check_source(source)
        self._check_target(target)
        fields = self._fields()
        if fields is None:
            return []
        within = fields.parsed("within", units.duration_s)
        family = fields.parsed("family", _family)
        network = fields.text("network")
        if network and network not in self._networks:
            fields["network"].error(
                f'there is no network "{network}" in this file', did_you_mean(network, self._networks)
            )
        return [
            Expectation(
                source=source,
                target=target,
                reachable=arrow == "->",
                via=via,
                port=port,
                family=family or 0,
                within_s=DEFAULT_WITHIN_S if within is None else within,
                network=network,
                where=f"{self._value.source.file}:{self._value.line}",
            )
            for via, port in self._probes(fields)
        ]

    def _fields(self) -> Fields | None:
        """The probes of the line; `- a -> b` and `- a -> b: icmp` are short for {icmp: true}."""
        value = self._value
        if value.is_scalar and (value.is_null or value.word() in ("icmp", self._text)):
            return Fields(value)
        if not value.is_mapping:
            value.wrong_kind("a mapping of probes", _FORM)
            return None
        return value.fields(EXPECTATION)

    def _probes(self, fields: Fields) -> list[tuple[Literal["icmp", "tcp", "udp"], int]]:
        probes: list[tuple[Literal["icmp", "tcp", "udp"], int]] = []
        if "icmp" in fields:
            if fields["icmp"].flag() is False:
                fields["icmp"].error("says false", 'use "-/>" for what must not arrive')
            else:
                probes.append(("icmp", 0))
        probes += [("tcp", port) for port in _ports(fields, "tcp")]
        probes += [("udp", port) for port in _ports(fields, "udp")]
        if not probes and not {"icmp", "tcp", "udp"} & fields.keys():
            probes.append(("icmp", 0))
        return probes

    def _check_source(self, name: str) -> None:
        if name not in self._services and name != HOST:
            close = did_you_mean(name, [*self._services, HOST])
            self._value.error_at_key(
                f'there is no service "{name}" to probe from', close or 'use a service, or "host" for this machine'
            )

    def _check_target(self, name: str) -> None:
        if name in self._services or name in self._aliases or name == HOST:
            return
        if "." in name or ":" in name:  # an address, or a name that DNS knows
            return
        close = did_you_mean(name, [*self._services, *self._aliases])
        self._value.error_at_key(
            f'there is no service "{name}" to reach', close or "use a service, an address or a full host name"
        )


def _ports(fields: Fields, name: str) -> list[int]:
    """One port or a list of them."""
    values = fields[name].one_or_more() if name in fields else []
    return [port for value in values if (port := value.integer(1, 65535)) is not None]


def _family(text: str) -> Literal[4, 6]:
    family = _FAMILIES.get(text.lower())
    if family is None:
        raise ValueError(f'"{text}" is no address family; use 4 or 6')
    return family
