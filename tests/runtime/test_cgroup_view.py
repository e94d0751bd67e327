"""A container in control groups: it is in them before its program runs, and sees its own part of the hierarchies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.lab import Lab, shell
from tests.runtime.shared import host, lab
from tests.support.wait import eventually

__all__ = ["host", "lab"]

pytestmark = pytest.mark.kernel


@pytest.fixture
def groups() -> Iterator[tuple[str, ...]]:
    """A group under each hierarchy that can take a process of ours: all controllers on v1, the one tree on v2."""
    made = []
    with open("/proc/self/mountinfo") as table:
        mounts = [line.split(" ") for line in table if line.partition(" - ")[2].startswith("cgroup")]
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1]
        if kind == "cgroup2" or any(name in options for name in ("memory", "pids", "freezer")):
            group = Path(fields[4], f"netmodel_test_{os.getpid()}")
            group.mkdir()
            made.append(group)
    yield tuple(map(str, made))
    for group in made:
        eventually(lambda group=group: (group / "cgroup.procs").read_text() == "")  # type: ignore[misc]
        group.rmdir()


def test_every_process_is_in_the_groups(lab: Lab, groups: tuple[str, ...]) -> None:
    spec = lab.sleeper(cgroups=groups)
    handle = lab.spawner.exec(spec.id, shell("exec sleep infinity"))

    for group in groups:
        assert set(Path(group, "cgroup.procs").read_text().split()) == {str(lab.status(spec).pid), str(handle.pid)}
    handle.close()
    lab.spawner.signal(spec.id, 9)


def test_a_restart_is_in_them_as_well(lab: Lab, groups: tuple[str, ...]) -> None:
    spec = lab.start(shell("true"), cgroups=groups)
    lab.ended(spec)
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)
    lab.ended(spec)

    assert lab.status(spec).exit_code == 0


def test_its_own_part_is_its_root(lab: Lab, groups: tuple[str, ...]) -> None:
    text = lab.run(
        "cut -d: -f3 /proc/self/cgroup | sort -u; find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | wc -l;"
        "find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -exec cat {} + | grep -cx 1;"
        "mkdir $(dirname $(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs | head -1))/x 2>&1 || echo read-only",
        cgroups=groups,
    )

    lines = text.splitlines()
    assert "/" in lines
    assert lines[-1] == "read-only"
    assert lines[-4:-2] == [str(len(groups))] * 2 if len(groups) > 1 else lines


def test_with_the_host_s_cgroup_namespace_it_sees_where_it_is(lab: Lab, groups: tuple[str, ...]) -> None:
    text = lab.run("cat /proc/self/cgroup", cgroups=groups, private_cgroup=False)

    assert text.count(f"/netmodel_test_{os.getpid()}") == len(groups)
