"""The probes agree with what the kernel does otherwise, and leave nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.kernel import probe
from runtime.kernel.prctl import CAPABILITIES

pytestmark = pytest.mark.kernel


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.not_on("it lacks the time namespace", "uml")
def test_namespaces() -> None:
    assert {kind: probe.namespace(kind) for kind in probe.NAMESPACES} == dict.fromkeys(probe.NAMESPACES, True)


def test_idmapped_mounts(tmp_path: Path) -> None:
    before = descriptors()

    assert not probe.idmapped_mounts("/proc")
    assert not probe.idmapped_mounts(str(tmp_path / "missing"))
    assert probe.idmapped_mounts("/") in (True, False)
    assert descriptors() == before


def test_overlay_and_lookups() -> None:
    before = descriptors()

    assert probe.overlay_by_descriptor() in (True, False)
    assert probe.beneath_lookups()
    assert probe.filesystem("proc")
    assert not probe.filesystem("nofs")
    assert not probe.clone_into_cgroup("/proc")
    assert descriptors() == before


def test_missing_capabilities_are_those_that_the_bounding_set_lacks() -> None:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    mask = int(line.split()[1], 16)

    assert probe.missing_capabilities() == tuple(
        name for number, name in enumerate(CAPABILITIES) if not mask & (1 << number)
    )
