from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.netmodel.probe.lab import Lab
from tests.support.box import Box


@pytest.fixture
def lab(host: Box, box: Callable[[str], Box]) -> Lab:
    return Lab(host, box)


@pytest.fixture(autouse=True)
def _short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an idle veth nothing is late; people's networks get the full second."""
    monkeypatch.setattr("netmodel.probe.expectation.SILENCE_S", 0.4)
