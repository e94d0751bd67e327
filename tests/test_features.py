"""docs/features.md: whoever says yes names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "features.md"


class Row(NamedTuple):
    capability: str
    docker: str
    ours: str
    tests: str


def rows() -> list[Row]:
    lines = (line for line in PAGE.read_text().splitlines() if line.startswith("| "))
    found = (Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines)
    return [row for row in found if row.capability != "Capability"]


def test_the_page_has_every_row() -> None:
    assert len(rows()) > 55
    assert len({row.capability for row in rows()}) == len(rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: re.sub(r"[^A-Za-z0-9 ]", "", row.capability)[:40])
def test_what_is_said_is_proven(row: Row) -> None:
    named = re.findall(r"`([^`]+)`", row.tests)
    verdict = re.match(r"(yes|part(?=: )|no)\b", row.ours)

    assert verdict, f"neither yes, part: ... nor no: {row.ours}"
    assert bool(named) == (verdict[1] != "no")
    for name in named:
        file, _, test = name.partition("::")
        assert re.search(rf"^def {test}\(", (TESTS / file).read_text(), re.MULTILINE), f"no such test: {name}"
