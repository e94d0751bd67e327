"""Control groups of the running kernel: v1, and v2, which has no controllers on a hybrid machine."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.cgroups import (
    Cgroup,
    CgroupBusy,
    CgroupMissing,
    Cgroups,
    Feature,
    LimitRefused,
    LimitUnavailable,
    Stats,
    mounts,
)
from runtime.cgroups.blocks import NotABlockDevice
from runtime.cgroups.v1 import CgroupsV1
from runtime.cgroups.v2 import CgroupsV2
from runtime.spec import IoLimit, Resources
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]

HIERARCHIES = mounts.find()
VERSIONS = [version for version, there in (("v1", HIERARCHIES.v1), ("v2", HIERARCHIES.v2)) if there]
MIB = 1 << 20


Start = Callable[[Cgroup, str], subprocess.Popen[str]]


def make(version: str, prefix: str) -> Cgroups:
    if version == "v1":
        return CgroupsV1(HIERARCHIES.v1, prefix)
    assert HIERARCHIES.v2 is not None
    return CgroupsV2(HIERARCHIES.v2, prefix)


def offering(feature: Feature) -> pytest.MarkDecorator:
    """Run the test with the generations that have it: on a hybrid machine v1 holds all controllers, v2 has its core."""
    there = [version for version in VERSIONS if make(version, "netmodel_test").supports(feature)]
    if not there:
        return pytest.mark.skip(reason=f"no control group here offers {feature}")
    return pytest.mark.parametrize("groups", there, indirect=True)


def disk_of(path: Path) -> str:
    """The node of the disk that a file system lies on; "" when it is on none."""
    device = os.stat(path).st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not place.exists():
        return ""
    whole = place.resolve().parent if (place / "partition").exists() else place.resolve()
    return f"/dev/{whole.name}"


with_limits = offering("memory")
with_devices = offering("devices")


@pytest.fixture(params=VERSIONS)
def groups(request: pytest.FixtureRequest) -> Iterator[Cgroups]:
    """The groups of an engine of our own."""
    made = make(request.param, f"netmodel_test_{uuid.uuid4().hex[:12]}")
    yield made
    for name in made.names():
        group = made.open(name)
        group.kill()
        group.delete()
    made.remove_root()
    assert made.prefix not in str(list(present(made.prefix)))


def present(prefix: str) -> Iterator[str]:
    for point in {*HIERARCHIES.v1.values(), HIERARCHIES.v2} - {None}:
        if os.path.exists(f"{point}/{prefix}"):
            yield f"{point}/{prefix}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Run Python code in a group; it begins once it is in."""
    processes: list[subprocess.Popen[str]] = []

    def run(group: Cgroup, code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", f"import sys\nsys.stdin.readline()\n{code}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        processes.append(process)
        for directory in group.directories:
            with open(f"{directory}/cgroup.procs", "w") as procs:
                procs.write(str(process.pid))
        assert process.stdin is not None
        process.stdin.write("go\n")
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


# --- making and deleting ---------------------------------------------------------------------


def test_a_group_is_there_until_it_is_deleted(groups: Cgroups) -> None:
    group = groups.create("a" * 64, Resources())

    assert groups.names() == ["a" * 64]
    assert all(Path(directory).is_dir() for directory in group.directories)
    assert groups.open("a" * 64).directories == group.directories

    group.delete()
    group.delete()

    assert groups.names() == []
    with pytest.raises(CgroupMissing):
        groups.open("a" * 64)


def test_detection_prefers_the_generation_with_controllers() -> None:
    found = Cgroups.detect("netmodel_nothing")

    assert found.version == ("v1" if HIERARCHIES.v1 else "v2")
    assert found.names() == []
    assert not list(present("netmodel_nothing"))


def test_a_busy_group_is_not_deleted_and_says_by_whom(groups: Cgroups, start: Start) -> None:
    group = groups.create("busy", Resources())
    process = start(group, "sys.stdin.read()")

    with pytest.raises(CgroupBusy, match=str(process.pid)):
        group.delete(timeout_s=0.05)

    assert group.processes() == [process.pid]


def test_deleting_waits_for_the_last_process_to_be_gone(groups: Cgroups, start: Start) -> None:
    group = groups.create("dying", Resources())
    start(group, "sys.stdin.read()")
    group.kill()

    group.delete()

    assert groups.names() == []


def test_groups_that_the_container_made_go_with_its_own(groups: Cgroups) -> None:
    group = groups.create("nested", Resources())
    for directory in group.directories:
        Path(directory, "its/own").mkdir(parents=True)

    group.delete()

    assert groups.names() == []


@with_limits
def test_what_a_crash_left_does_not_limit_the_next(groups: Cgroups) -> None:
    groups.create("again", Resources(pids_max=5))

    group = groups.create("again", Resources())

    assert group.stats().pids_limit is None


def test_a_name_that_is_in_use_is_refused(groups: Cgroups, start: Start) -> None:
    start(groups.create("taken", Resources()), "sys.stdin.read()")

    with pytest.raises(CgroupBusy):
        groups.create("taken", Resources())


def test_a_refused_limit_leaves_nothing_behind(groups: Cgroups) -> None:
    with pytest.raises((LimitRefused, LimitUnavailable), match="pids_max"):
        groups.create("refused", Resources(pids_max=-7))

    assert groups.names() == []


@pytest.mark.not_on("it is about cgroup v1", "uml", "debian")
def test_a_limit_without_a_controller_is_named() -> None:
    if HIERARCHIES.v1:
        points = {"freezer": HIERARCHIES.v1["freezer"]}
        lacking: Cgroups = CgroupsV1(points, f"netmodel_test_{uuid.uuid4().hex[:12]}")
    else:
        pytest.skip("cgroup v1 is not mounted")
    try:
        with pytest.raises(LimitUnavailable, match="memory_bytes"):
            lacking.create("x", Resources(memory_bytes=MIB))
        assert lacking.names() == []
        assert not lacking.supports("memory")
    finally:
        lacking.remove_root()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a"])
def test_a_name_never_leads_out_of_the_prefix(groups: Cgroups, name: str) -> None:
    with pytest.raises(ValueError, match="control group"):
        groups.create(name, Resources())
    with pytest.raises(ValueError, match="control group"):
        groups.open(name)


def test_the_prefix_stays_while_groups_are_in_it(groups: Cgroups) -> None:
    groups.create("one", Resources())

    with pytest.raises(CgroupBusy):
        groups.remove_root()

    groups.open("one").delete()
    groups.remove_root()
    groups.remove_root()


# --- limits ----------------------------------------------------------------------------------


@with_limits
def test_limits_are_what_the_kernel_reports(groups: Cgroups) -> None:
    stats = groups.create("limits", Resources(memory_bytes=64 * MIB, pids_max=17)).stats()

    assert stats.memory_limit_bytes == 64 * MIB
    assert stats.pids_limit == 17
    assert stats.pids == 0


def test_no_limit_is_none(groups: Cgroups) -> None:
    stats = groups.create("free", Resources(memory_bytes=None, pids_max=None)).stats()

    assert stats.memory_limit_bytes is None
    assert stats.pids_limit is None


@offering("swap")
def test_memory_can_be_raised_and_lowered_with_its_swap(groups: Cgroups) -> None:
    group = groups.create("memory", Resources(memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB))

    group.update(Resources(memory_bytes=256 * MIB, memory_swap_bytes=256 * MIB))
    assert group.stats().memory_limit_bytes == 256 * MIB

    group.update(Resources(memory_bytes=32 * MIB, memory_swap_bytes=48 * MIB))
    assert group.stats().memory_limit_bytes == 32 * MIB

    group.update(Resources(pids_max=9))
    assert group.stats().memory_limit_bytes == 32 * MIB


@with_limits
def test_the_limit_of_tasks_bites(groups: Cgroups, start: Start) -> None:
    group = groups.create("pids", Resources(pids_max=3))
    code = """
import os
born = 0
try:
    while True:
        if os.fork() == 0:
            sys.stdin.read()
        born += 1
except OSError as error:
    print(born, error.errno, flush=True)
sys.stdin.read()
"""
    process = start(group, code)
    assert process.stdout is not None

    assert process.stdout.readline() == "2 11\n"  # EAGAIN
    assert len(group.processes()) == 3
    group.kill()


@with_limits
def test_the_limit_of_memory_bites_and_is_counted(groups: Cgroups, start: Start) -> None:
    swap = 24 * MIB if groups.supports("swap") else None
    group = groups.create("oom", Resources(memory_bytes=24 * MIB, memory_swap_bytes=swap))
    assert group.oom_kills() == 0

    process = start(group, f"hog = bytearray({128 * MIB})")

    assert process.wait(30) == -signal.SIGKILL
    assert eventually(group.oom_kills, what="oom_kills") == 1
    assert (group.stats().memory_max_bytes or 0) > 20 * MIB


@with_limits
def test_a_shortage_is_told_as_it_happens(groups: Cgroups, start: Start) -> None:
    swap = 24 * MIB if groups.supports("swap") else None
    group = groups.create("short", Resources(memory_bytes=24 * MIB, memory_swap_bytes=swap))
    watch = group.watch_oom()
    assert watch is not None
    told = select.poll()
    told.register(watch.fd, select.POLLIN)
    assert not watch.happened()

    process = start(group, f"hog = bytearray({128 * MIB})")

    assert process.wait(30) == -signal.SIGKILL
    eventually(lambda: told.poll(1000) and watch.happened(), what="shortage")
    assert not watch.happened()
    watch.close()


@with_limits
def test_the_quota_of_processor_time_bites(groups: Cgroups, start: Start) -> None:
    group = groups.create("cpu", Resources(cpu_quota_us=5_000, cpu_period_us=50_000, cpu_weight=512))
    start(group, "while True: pass")

    def throttled() -> Stats | None:
        stats = group.stats()
        return stats if stats.cpu_throttled_periods > 2 and stats.cpu_throttled_ns else None

    stats = eventually(throttled, what="throttled periods")

    assert stats is not None
    # A tenth of one processor: far below what ran by the clock.
    assert 0 < stats.cpu_total_ns < stats.cpu_periods * 50_000_000 / 2


@pytest.mark.not_on("it is built for one processor, without cpusets", "uml")
@offering("cpuset")
def test_a_cpuset_says_where_it_may_run(groups: Cgroups, start: Start) -> None:
    group = groups.create("cpuset", Resources(cpuset_cpus="0", cpuset_mems="0"))
    process = start(group, "import os; print(sorted(os.sched_getaffinity(0)), flush=True); sys.stdin.read()")
    assert process.stdout is not None

    assert process.stdout.readline() == "[0]\n"
    if os.cpu_count() != 1:
        group.update(Resources(cpuset_cpus="1"))
        assert eventually(lambda: os.sched_getaffinity(process.pid) == {1}, what="the move")
    with pytest.raises(LimitRefused, match="cpuset_cpus"):
        group.update(Resources(cpuset_cpus="4000"))


@pytest.mark.not_on("it is about cgroup v1", "uml", "debian")
def test_nobody_is_in_a_cpuset_without_asking() -> None:
    """Being in one more hierarchy would cost every start; a container that did not ask is told so."""
    if "cpuset" not in HIERARCHIES.v1:
        pytest.skip("no cpuset controller of cgroup v1")
    groups = make("v1", f"netmodel_test_{uuid.uuid4().hex[:12]}")
    group = groups.create("plain", Resources())
    try:
        assert not any("cpuset" in directory for directory in group.directories)
        with pytest.raises(LimitUnavailable, match="started without a cpuset group"):
            group.update(Resources(cpuset_cpus="0"))
    finally:
        group.delete()
        groups.remove_root()


@with_limits
def test_a_reservation_is_taken(groups: Cgroups) -> None:
    group = groups.create("reserve", Resources(memory_reservation_bytes=16 * MIB))

    assert str(16 * MIB) in settings(group, "memory.soft_limit_in_bytes", "memory.low")


@with_limits
def test_what_a_generation_has_not_is_refused_by_name(groups: Cgroups) -> None:
    wanted: list[tuple[Feature, Resources, str]] = [
        ("swappiness", Resources(memory_swappiness=10), "memory_swappiness"),
        ("oom_disable", Resources(oom_kill_disable=True), "oom_kill_disable"),
        ("hugetlb", Resources(hugetlb_bytes=(("2MB", 1 << 21),)), "hugetlb"),
        ("io_weight", Resources(io_weight=700), "io_weight"),
    ]
    for feature, resources, name in wanted:
        if groups.supports(feature):
            groups.create(feature, resources).delete()
        else:
            with pytest.raises(LimitUnavailable, match=name):
                groups.create(feature, resources)


@pytest.mark.not_on("cgroup v2 has no such thing", "uml", "debian")
@offering("oom_disable")
def test_without_the_killer_a_process_waits_for_memory(groups: Cgroups, start: Start) -> None:
    group = groups.create("wait", Resources(memory_bytes=24 * MIB, memory_swap_bytes=24 * MIB, oom_kill_disable=True))
    process = start(group, f"hog = bytearray({128 * MIB})")

    eventually(lambda: "under_oom 1" in settings(group, "memory.oom_control"), what="shortage")
    assert process.poll() is None
    group.update(Resources(memory_bytes=512 * MIB, memory_swap_bytes=512 * MIB))
    assert process.wait(30) == 0
    assert group.oom_kills() == 0


@offering("io")
def test_a_disk_is_read_no_faster_than_allowed(groups: Cgroups, start: Start, tmp_path: Path) -> None:
    if not (disk := disk_of(tmp_path)):
        pytest.skip("no disk: temporary files lie on a file system without one")
    file = tmp_path / "data"
    file.write_bytes(os.urandom(1 << 20))
    limits = tuple(IoLimit(kind=kind, device=disk, value=1 << 30) for kind in ("read_iops", "write_bps", "write_iops"))
    slow = IoLimit(kind="read_bps", device=disk, value=1 << 20)
    group = groups.create("io", Resources(io_limits=(*limits, slow)))
    process = start(
        group,
        f"""
import mmap, os, time
file = os.open({str(file)!r}, os.O_RDWR | os.O_DIRECT)
os.fsync(file)
buffer = mmap.mmap(-1, 1 << 18)
begun = time.monotonic()
for part in range(4):
    os.preadv(file, [buffer], part << 18)
print(time.monotonic() - begun, flush=True)
""",
    )
    assert process.stdout is not None

    assert float(process.stdout.readline()) > 0.5  # a mebibyte at a mebibyte a second, less the first slice
    assert group.stats().io_read_bytes >= 1 << 20
    with pytest.raises(NotABlockDevice):
        group.update(Resources(io_limits=(IoLimit(kind="read_bps", device="/dev/null", value=1),)))


@pytest.mark.not_on("it counts no pressure", "uml")
@offering("pressure")
def test_pressure_is_told_where_the_kernel_counts_it(groups: Cgroups, start: Start) -> None:
    group = groups.create("press", Resources())
    for _ in range(2):
        start(group, "import os; os.sched_setaffinity(0, [0])\nwhile True: pass")

    assert eventually(lambda: group.stats().pressure["cpu"].some_s > 0, what="pressure")


def settings(group: Cgroup, *filenames: str) -> str:
    """What the first of these files says that the group has."""
    for directory in group.directories:
        for filename in filenames:
            if os.path.exists(f"{directory}/{filename}"):
                return Path(directory, filename).read_text()
    raise AssertionError(f"none of {filenames}")


def test_processor_time_is_counted(groups: Cgroups, start: Start) -> None:
    group = groups.create("count", Resources())
    start(group, "while True: pass")

    stats = eventually(lambda: (s := group.stats()).cpu_user_ns > 10_000_000 and s, what="user time")

    assert stats.cpu_total_ns > 5_000_000  # measured, while v1 samples the user's share of it


# --- freezing and killing --------------------------------------------------------------------


def test_a_frozen_process_answers_only_after_the_thaw(groups: Cgroups, start: Start) -> None:
    group = groups.create("freeze", Resources())
    process = start(group, "for line in sys.stdin: print(line, end='', flush=True)")
    assert process.stdin is not None
    assert process.stdout is not None
    answers = select.poll()
    answers.register(process.stdout, select.POLLIN)

    group.freeze()
    group.freeze()
    process.stdin.write("anybody?\n")
    assert answers.poll(100) == []

    group.thaw()
    assert answers.poll(5000)
    assert process.stdout.readline() == "anybody?\n"


def test_killing_spares_nobody_not_even_the_frozen(groups: Cgroups, start: Start) -> None:
    group = groups.create("kill", Resources())
    code = (
        "import os\nfor _ in range(20):\n    if os.fork() == 0: break\nelse: print('all', flush=True)\nsys.stdin.read()"
    )
    process = start(group, code)
    assert process.stdout is not None
    assert process.stdout.readline() == "all\n"
    assert len(group.processes()) == 21
    group.freeze()

    group.kill()

    assert process.wait(10) == -signal.SIGKILL
    eventually(lambda: group.processes() == [], what="nobody left")


# --- devices ---------------------------------------------------------------------------------

OPEN_KMSG = """
import os
for path in ("/dev/null", "/dev/kmsg"):
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        print("ok", end=" ")
    except PermissionError:
        print("no", end=" ")
print(flush=True)
"""


@with_devices
@pytest.mark.parametrize(
    ("privileged", "devices", "answer"),
    [(False, (), "ok no"), (True, (), "ok ok"), (False, ("/dev/kmsg",), "ok ok")],
)
def test_only_harmless_and_named_devices_open(
    groups: Cgroups, start: Start, privileged: bool, devices: tuple[str, ...], answer: str
) -> None:
    group = groups.create("devices", Resources(), privileged=privileged, devices=devices)

    process = start(group, OPEN_KMSG)

    assert process.communicate(timeout=10)[0].strip() == answer
