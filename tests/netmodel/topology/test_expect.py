"""Expectations out of lines, and what is wrong with lines."""

# ruff: noqa: E501 - a case a line

from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.project import Expectation
from tests.netmodel.topology.support import project, told

BASE = """\
services:
  web: {image: host, networks: {lan: {aliases: [www]}}}
  db: {image: host, container_name: database, networks: [lan]}
networks: {lan: , dmz: }
x-expect:
"""


def _expectations(directory: Path, line: str) -> list[tuple[object, ...]]:
    found = project(directory, BASE + f"  - {line}\n").expectations
    return [(one.source, one.target, one.reachable, one.via, one.port) for one in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("web -> db: {icmp: true}", [("web", "db", True, "icmp", 0)]),
        ("web -> db", [("web", "db", True, "icmp", 0)]),
        ("web -> db:", [("web", "db", True, "icmp", 0)]),
        ("web -> db: icmp", [("web", "db", True, "icmp", 0)]),
        ("web -> db: {within: 1s}", [("web", "db", True, "icmp", 0)]),
        ("web -/> db: {tcp: 5432}", [("web", "db", False, "tcp", 5432)]),
        ("web -> db: {udp: [53, '54'], tcp: 80}", [("web", "db", True, "tcp", 80), ("web", "db", True, "udp", 53), ("web", "db", True, "udp", 54)]),
        ("host -> web: {tcp: 80}", [("host", "web", True, "tcp", 80)]),
        ("web -> 1.1.1.1: {icmp: true}", [("web", "1.1.1.1", True, "icmp", 0)]),
        ('"web -> fd00::1": {icmp: true}', [("web", "fd00::1", True, "icmp", 0)]),
        ("web -> www: {icmp: true}", [("web", "www", True, "icmp", 0)]),
        ("web -> database: {icmp: true}", [("web", "database", True, "icmp", 0)]),
        ("web -> example.org: {tcp: 443}", [("web", "example.org", True, "tcp", 443)]),
    ],
)  # fmt: skip
def test_line(tmp_path: Path, line: str, expected: list[tuple[object, ...]]) -> None:
    assert _expectations(tmp_path, line) == expected


def test_every_key(tmp_path: Path) -> None:
    found = project(tmp_path, BASE + "  - web -> db: {tcp: 80, within: 1m, network: lan, family: 6}\n").expectations

    assert found == (
        Expectation(
            source="web",
            target="db",
            reachable=True,
            via="tcp",
            port=80,
            family=6,
            within_s=60.0,
            network="lan",
            where=f"{tmp_path / 'lab.yaml'}:6",
        ),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("web => db: {icmp: true}", '6:5: x-expect[0]: "web => db" is no expectation'),
        ("wbe -> db: {icmp: true}", 'there is no service "wbe" to probe from (did you mean "web"?)'),
        ("web -> bd: {icmp: true}", 'there is no service "bd" to reach (did you mean "db"?)'),
        ("web -> db: {icmp: false}", 'says false (use "-/>" for what must not arrive)'),
        ("web -> db: {tpc: 80}", 'unknown key "tpc" (did you mean "tcp"?)'),
        ("web -> db: {tcp: 0}", "must be between 1 and 65535, not 0"),
        ("web -> db: {tcp: http}", 'must be a whole number, not "http"'),
        ("web -> db: {network: lna}", 'there is no network "lna" in this file (did you mean "lan"?)'),
        ("web -> db: {family: 5}", '"5" is no address family'),
        ("web -> db: {within: 5}", '"5" is no duration'),
        ("web -> db: [icmp]", "must be a mapping of probes, not a list"),
    ],
)
def test_mistake(tmp_path: Path, line: str, message: str) -> None:
    found = told(tmp_path, BASE + f"  - {line}\n")

    assert len(found) == 1, found
    assert message in found[0]


def test_the_list_is_a_list(tmp_path: Path) -> None:
    assert told(tmp_path, BASE + "  web -> db: {icmp: true}\n") == ["6:3: x-expect: must be a list, not a mapping"]
