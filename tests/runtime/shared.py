"""One spawner for all tests of a module, in place of one for each: `from tests.runtime.shared import host, lab`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.lab import Lab
from tests.support.box import Box


@pytest.fixture
def host(lab_of_module: tuple[Box, Lab]) -> Iterator[Box]:
    """The network that the spawner works in; the test is inside."""
    box, _ = lab_of_module
    with box.entered():
        yield box


@pytest.fixture
def lab(lab_of_module: tuple[Box, Lab], host: Box) -> Iterator[Lab]:
    """The module's spawner, with nothing to keep."""
    _, lab = lab_of_module
    yield lab
    lab.clear()
