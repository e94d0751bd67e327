"""Every test lives in a network namespace of its own, so that nothing touches the machine's network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.box import Box


@pytest.fixture
def host() -> Iterator[Box]:
    """The "host": the test's main thread, and what it starts, is inside."""
    box = Box("host")
    with box.entered():
        yield box
    box.close()


@pytest.fixture
def box() -> Iterator[Callable[[str], Box]]:
    """Make further boxes by name: another host, or a namespace to join."""
    boxes: list[Box] = []

    def make(name: str) -> Box:
        boxes.append(Box(name))
        return boxes[-1]

    yield make
    for made in boxes:
        made.close()
