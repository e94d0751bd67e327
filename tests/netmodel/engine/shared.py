"""One engine on one host for all tests of a module, in place of one for each: `from ...shared import engine, host`.

For tests that leave nothing to each other but addresses and ids that were used before.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netmodel.engine import Engine
from tests.netmodel.engine.conftest import remove_containers
from tests.support.box import Box


@pytest.fixture
def host(engine_of_module: tuple[Box, Engine]) -> Iterator[Box]:
    """The engine's host; the test is inside."""
    box, _ = engine_of_module
    with box.entered():
        yield box


@pytest.fixture
def engine(engine_of_module: tuple[Box, Engine], host: Box) -> Iterator[Engine]:
    """The module's engine, with nothing in it; what a test makes is removed after it."""
    _, opened = engine_of_module
    before = [network.id for network in opened.networks()]
    yield opened
    for project in opened.projects():
        opened.down(project, volumes=True)
    remove_containers(opened)
    made = [network for network in opened.networks() if network.id not in before]
    for network in sorted(
        made, key=lambda one: one.config.config_only
    ):  # settings after those who take theirs from them
        opened.remove_network(network.id)
    for volume in opened.volumes():
        opened.remove_volume(volume.name, force=True)
    opened.images.prune({"dangling": ["false"]})
    opened._core.reaper.drain()
