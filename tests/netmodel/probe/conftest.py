from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.netmodel.probe.lab import Lab
from tests.support.box import Box


@pytest.fixture
def lab(host: Box, box: Callable[[str], Box]) -> Lab:
    return Lab(host, box)
