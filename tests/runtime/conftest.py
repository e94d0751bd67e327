"""The spawner of a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.images import Images
from tests.runtime.lab import Lab, lab_in
from tests.support import apparmor, disk, nfs
from tests.support.box import Box
from tests.support.registry import Server, registry

# A skip would be a failure on a kernel that has it not; `make test-kernels` runs these on one that has.
collect_ignore = [] if apparmor.enabled() else ["test_apparmor.py"]
if os.geteuid() == 0:
    collect_ignore += [] if disk.can_enforce_quotas() else ["test_quotas.py"]
    collect_ignore += [] if nfs.can_serve() else ["test_nfs.py"]


@pytest.fixture
def lab(tmp_path: Path, host: Box) -> Iterator[Lab]:
    """A spawner that works in the test's own network; what it started ends with it."""
    with lab_in(tmp_path) as lab:
        yield lab


@pytest.fixture(scope="module")
def lab_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Lab]]:
    """What shared.py gives to the tests of a module."""
    box = Box("host")
    with box.entered():
        lab = Lab(tmp_path_factory.mktemp("lab"))
    yield box, lab
    lab.close()
    box.close()


@pytest.fixture
def store(tmp_path: Path) -> Images:
    return Images(tmp_path / "root/images")


@pytest.fixture
def other(tmp_path: Path) -> Images:
    """The store of somebody else."""
    return Images(tmp_path / "other/images")


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Server]]:
    """A registry for all tests of a module, in a box."""
    box = Box("host")
    with box.entered(), registry(tmp_path_factory.mktemp("registry")) as running:
        yield box, running
    box.close()


@pytest.fixture
def server(lan: tuple[Box, Server]) -> Iterator[Server]:
    """The registry; the test is in its box."""
    with lan[0].entered():
        yield lan[1]
