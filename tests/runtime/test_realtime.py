"""Time for real-time tasks: dealt out where the kernel does that, refused by name where it does not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cgroups import Cgroup, Cgroups, LimitRefused, LimitUnavailable
from runtime.cgroups.realtime import Time
from runtime.spec import Resources

pytestmark = pytest.mark.kernel
SECOND = 1_000_000
# Joins the group, becomes a real-time task if it may, and tells how long it ran of so many seconds.
TASK = """
import os, sys, time
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write("0")
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
except OSError as error:
    sys.exit(error.errno)
ends = time.monotonic() + float(sys.argv[2])
while time.monotonic() < ends:
    pass
print(time.process_time())
"""


@pytest.fixture
def prefix() -> str:
    return f"netmodel_test_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def groups(prefix: str) -> Iterator[Cgroups]:
    yield from engine_s(Cgroups.detect(prefix))


def engine_s(made: Cgroups) -> Iterator[Cgroups]:
    yield made
    for name in made.names():
        made.open(name).delete()
    made.remove_root()


def dealt(made: Cgroups) -> bool:
    """Whether the kernel deals out any; if not, that is what is said."""
    if made.supports("realtime"):
        return True
    with pytest.raises(LimitUnavailable, match="cpu_rt_runtime cannot be given"):
        made.create("a", Resources(cpu_rt_runtime_us=1000))
    assert made.names() == []
    return False


def directory(group: Cgroup) -> Path:
    return next(Path(path) for path in group.directories if Path(path, "cpu.rt_runtime_us").exists())


def time_of(path: Path) -> tuple[int, int]:
    return int((path / "cpu.rt_runtime_us").read_text()), int((path / "cpu.rt_period_us").read_text())


def run(group: Cgroup, seconds: float = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TASK, str(directory(group)), str(seconds)], capture_output=True, text=True, timeout=30
    )


def test_a_real_time_task_runs_where_there_is_time_and_no_longer(groups: Cgroups) -> None:
    if not dealt(groups):
        return
    without = groups.create("without", Resources())
    some = groups.create("some", Resources(cpu_rt_runtime_us=10_000, cpu_rt_period_us=100_000))

    assert run(without).returncode == errno.EPERM
    done = run(some, seconds=0.6)
    assert done.returncode == 0
    assert float(done.stdout) < 0.3  # a tenth, and what it takes the kernel to notice

    some.update(Resources(cpu_rt_runtime_us=20_000))
    assert time_of(directory(some)) == (20_000, 100_000)


def test_the_group_above_has_what_is_needed_and_gives_it_back(groups: Cgroups) -> None:
    if not dealt(groups):
        return
    one = groups.create("one", Resources(cpu_rt_runtime_us=5_000, cpu_rt_period_us=50_000))
    above = directory(one).parent
    assert time_of(above) == (100_000, SECOND)
    two = groups.create("two", Resources(cpu_rt_runtime_us=30_000))
    assert time_of(above) == (130_000, SECOND)

    for runtime, period in ((200_000, SECOND), (4_000, 50_000), (100, 2_000), (1_000, SECOND)):
        one.update(Resources(cpu_rt_runtime_us=runtime, cpu_rt_period_us=period))
        assert time_of(directory(one)) == (runtime, period)
        assert time_of(above) == (30_000 + runtime * SECOND // period, SECOND)

    one.delete()
    assert time_of(above) == (30_000, SECOND)
    # The next engine does not know who had any.
    Cgroups.detect(groups.prefix).open("two").delete()
    assert time_of(above) == (0, SECOND)
    assert two.name not in groups.names()


def test_more_than_the_machine_has_is_refused_and_nothing_changes(groups: Cgroups) -> None:
    if not dealt(groups):
        return
    one = groups.create("one", Resources(cpu_rt_runtime_us=100_000))

    with pytest.raises(LimitRefused, match=r"leaves real-time tasks \d+ of each \d+.* 100000 other containers'"):
        groups.create("two", Resources(cpu_rt_runtime_us=940_000))
    with pytest.raises(LimitRefused, match="999999 of each 1000000"):
        one.update(Resources(cpu_rt_runtime_us=999_999))

    assert groups.names() == ["one"]
    assert time_of(directory(one)) == (100_000, SECOND)
    assert time_of(directory(one).parent) == (100_000, SECOND)


def test_what_a_running_task_needs_is_not_taken_from_it(groups: Cgroups) -> None:
    if not dealt(groups):
        return
    one = groups.create("one", Resources(cpu_rt_runtime_us=100_000))
    task = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", task],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: (directory(one) / "cgroup.procs").write_text("0"),
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with pytest.raises(LimitRefused, match="a real-time task of the container has need"):
            one.update(Resources(cpu_rt_runtime_us=0))
        running.kill()
    assert time_of(directory(one)) == (100_000, SECOND)


def test_containers_share_what_the_administrator_said(prefix: str) -> None:
    for groups in engine_s(Cgroups.detect(prefix, Time(50_000, 500_000))):
        if not dealt(groups):
            return
        one = groups.create("one", Resources(cpu_rt_runtime_us=40_000))
        above = directory(one).parent

        assert time_of(above) == (50_000, 500_000)
        with pytest.raises(
            LimitRefused, match="setting cpu-rt-runtime leaves containers 50000 of each 500000, and 20000"
        ):
            groups.create("two", Resources(cpu_rt_runtime_us=61_000))
        groups.create("two", Resources(cpu_rt_runtime_us=60_000))
        one.delete()
        assert time_of(above) == (50_000, 500_000)
    assert not os.path.exists(above)
