"""docs/security.md names for each thing the test that proves it; they are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
DOCUMENT = TESTS.parent / "docs" / "security.md"


def test_every_test_that_is_named_is_there() -> None:
    # `file.py`, `file.py::test`, or `::test` of the file before it.
    named = re.findall(r"`((?:attacks|runtime|netmodel)/[\w/]*test_\w+\.py)?(?:::(test_\w+))?`", DOCUMENT.read_text())
    missing, file = [], ""
    for path, test in named:
        file = path or file
        if path or test:
            source = TESTS / re.sub("^attacks/", "netmodel/attacks/", file)
            if not source.is_file() or f"def {test}" not in source.read_text():
                missing.append(f"{file}::{test}")

    assert len(named) > 20
    assert missing == []
