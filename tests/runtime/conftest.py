"""The spawner of a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.lab import Lab, lab_in
from tests.support.box import Box


@pytest.fixture
def lab(tmp_path: Path, host: Box) -> Iterator[Lab]:
    """A spawner that works in the test's own network; what it started ends with it."""
    with lab_in(tmp_path) as lab:
        yield lab
