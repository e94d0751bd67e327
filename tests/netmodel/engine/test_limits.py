"""Limits that change while a container runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.engine.apparmor import label_of
from netmodel.errors import Invalid, NetmodelError
from netmodel.model import BlkioConfig, Container
from runtime.cgroups.hugepages import page_sizes
from tests.netmodel.engine.conftest import Run, execute
from tests.netmodel.engine.shared import engine, host
from tests.support import apparmor

__all__ = ["engine", "host"]

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]
MIB = 1 << 20


def test_new_limits_bite_at_once_and_after_a_restart(engine: Engine, run: Run) -> None:
    container = run("web", memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB)

    engine.update("web", {"memory_bytes": 128 * MIB, "memory_swap_bytes": 128 * MIB, "pids_limit": 30, "cpus": 0.5})

    used = engine.stats(container.id)
    assert (used.memory_limit_bytes, used.pids_limit) == (128 * MIB, 30)
    engine.restart("web", timeout_s=0)
    used = engine.stats(container.id)
    assert (used.memory_limit_bytes, used.pids_limit) == (128 * MIB, 30)
    assert engine.container("web").config.cpus == 0.5


def test_who_says_nothing_of_swap_has_as_much_as_memory(engine: Engine, run: Run) -> None:
    """As in Docker; else a limit of the memory alone would only move it to the disk."""
    if not engine._core.cgroups.supports("swap"):
        pytest.skip("missing: control groups that count swap")
    container = run("web", memory_bytes=64 * MIB)

    assert _swap(container) == 64 * MIB
    engine.update("web", {"memory_bytes": 96 * MIB})
    assert _swap(container) == 96 * MIB
    engine.update("web", {"memory_bytes": 32 * MIB})
    assert _swap(container) == 32 * MIB
    engine.update("web", {"memory_swap_bytes": -1})
    assert _swap(container) > 1 << 50


def _swap(container: Container) -> int:
    """How much swap its control group allows beside the memory."""
    found = [line.split(":", 2) for line in Path(f"/proc/{container.state.pid}/cgroup").read_text().splitlines()]
    place = next(path for _, kinds, path in found if "memory" in kinds.split(",") or not kinds)
    for directory in (Path("/sys/fs/cgroup/memory" + place), Path("/sys/fs/cgroup" + place)):
        if (directory / "memory.memsw.limit_in_bytes").exists():
            both = int((directory / "memory.memsw.limit_in_bytes").read_text())
            return both - int((directory / "memory.limit_in_bytes").read_text())
        if (directory / "memory.swap.max").exists():
            text = (directory / "memory.swap.max").read_text().strip()
            return 1 << 60 if text == "max" else int(text)
    raise AssertionError(f"no limits are to be read at {place}")


def test_one_that_is_refused_changes_none(engine: Engine, run: Run) -> None:
    container = run("web", pids_limit=20)

    with pytest.raises(NetmodelError, match="cpuset_cpus"):
        engine.update("web", {"pids_limit": 99, "cpuset_cpus": "4000"})

    assert engine.stats(container.id).pids_limit == 20
    assert engine.container("web").config.pids_limit == 20


def test_what_is_no_limit_or_contradicts_is_refused(engine: Engine, run: Run) -> None:
    run("web", memory_bytes=64 * MIB)

    for changes, said in (
        ({"image": "other"}, "image cannot be changed"),
        ({"memory_reservation_bytes": 65 * MIB}, "above the memory limit"),
        ({"cpus": 0.5, "cpu_quota_us": 5000}, "exclude each other"),
        ({"blkio": (BlkioConfig(kind="read_bps", device="/dev/null", value=1),)}, "not a block device"),
    ):
        with pytest.raises(NetmodelError, match=said):
            engine.update("web", changes)


def test_huge_pages_are_limited_or_refused_by_name(engine: Engine, run: Run) -> None:
    with pytest.raises(Invalid, match="no huge pages of 3MB"):
        run("web", hugetlb_bytes={"3MB": 1})
    sizes = page_sizes()
    if not sizes:
        return
    wanted = {sizes[0]: 64 * MIB}
    if not engine._core.cgroups.supports("hugetlb"):
        with pytest.raises(NetmodelError, match="hugetlb"):
            run("web", hugetlb_bytes=wanted)
        return
    run("web", hugetlb_bytes=wanted)
    engine.update("web", {"hugetlb_bytes": {sizes[0]: 32 * MIB}})
    directories = engine._parts.lifecycle.runs.of(engine.container("web")).cgroup.directories
    files = [file for name in directories for file in Path(name).glob(f"hugetlb.{sizes[0]}.*")]
    kept = [file.read_text() for file in files if file.name.endswith((".max", ".limit_in_bytes"))]
    assert str(32 * MIB) in "".join(kept)


def test_quota_takes_the_place_of_cpus(engine: Engine, run: Run) -> None:
    run("web", cpus=0.5)

    changed = engine.update("web", {"cpu_quota_us": 20_000, "cpu_period_us": 100_000})

    assert (changed.config.cpus, changed.config.cpu_quota_us) == (None, 20_000)


def test_real_time_is_dealt_out_or_refused_by_name(engine: Engine, run: Run) -> None:
    with pytest.raises(Invalid, match="longer than its period"):
        run("web", cpu_rt_runtime_us=2_000_000)
    if not engine._core.cgroups.supports("realtime"):
        with pytest.raises(NetmodelError, match="cpu_rt_runtime cannot be given"):
            run("web", cpu_rt_runtime_us=1000)
        return
    become = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); print('real time')"
    container = run("web", userns_mode="host", cap_add=("SYS_NICE",))
    assert "Operation not permitted" in execute(engine, "web", "python3", "-c", become)[1]

    engine.update("web", {"cpu_rt_runtime_us": 2_000, "cpu_rt_period_us": 100_000})
    assert execute(engine, "web", "python3", "-c", become) == (0, "real time\n")
    engine.restart("web", timeout_s=0)
    assert execute(engine, "web", "python3", "-c", become) == (0, "real time\n")

    directories = engine._parts.lifecycle.runs.of(engine.container("web")).cgroup.directories
    group = next(Path(path) for path in directories if Path(path, "cpu.rt_runtime_us").exists())
    assert (group.parent / "cpu.rt_runtime_us").read_text() == "20000\n"
    with pytest.raises(NetmodelError, match="leaves real-time tasks"):
        engine.update("web", {"cpu_rt_runtime_us": 99_999, "pids_limit": 77})
    assert engine.stats(container.id).pids_limit != 77
    engine.remove("web", force=True)
    assert (group.parent / "cpu.rt_runtime_us").read_text() == "0\n"


def test_cpuset_and_score_reach_every_process(engine: Engine, run: Run) -> None:
    container = run("web", cpuset_cpus="0", oom_score_adj=345)

    _, joined = execute(
        engine, container.id, "sh", "-c", "grep Cpus_allowed_list /proc/self/status; cat /proc/self/oom_score_adj"
    )

    assert joined.split() == ["Cpus_allowed_list:", "0", "345"]
    assert Path(f"/proc/{container.state.pid}/oom_score_adj").read_text().strip() == "345"


def test_score_below_the_engines_own_is_refused_where_it_cannot_be(engine: Engine, run: Run) -> None:
    if "CAP_SYS_RESOURCE" not in _missing():
        run("web", oom_score_adj=-500)
        engine.restart("web", timeout_s=0)
        assert Path(f"/proc/{engine.container('web').state.pid}/oom_score_adj").read_text() == "-500\n"
        return
    with pytest.raises(NetmodelError, match="CAP_SYS_RESOURCE"):
        run("web", oom_score_adj=-500)


def test_capability_that_the_machine_lacks_is_refused_with_its_own_root(engine: Engine, run: Run) -> None:
    for name in _missing():
        with pytest.raises(NetmodelError, match=f"{name} cannot be given"):
            run("web", userns_mode="host", cap_add=(name,))
        container = run("own", cap_add=(name,))
        assert execute(engine, container.id, "true")[0] == 0
        engine.remove("own", force=True)


def _missing() -> tuple[str, ...]:
    from runtime.kernel.probe import missing_capabilities

    return missing_capabilities()


def test_profile_that_is_none_is_refused_before_anything_is_made(engine: Engine, run: Run) -> None:
    with pytest.raises(NetmodelError, match="seccomp profile: it is not JSON"):
        run("web", seccomp="nonsense")
    with pytest.raises(Invalid, match="oom_score_adj"):
        run("web", oom_score_adj=2000)

    assert engine.containers() == []


def test_apparmor_profile_is_refused_by_name_without_apparmor(engine: Engine, run: Run) -> None:
    if apparmor.enabled():
        with pytest.raises(NetmodelError, match="no such AppArmor profile"):
            run("web", apparmor="netmodel-no-such-profile")
    else:
        with pytest.raises(NetmodelError, match="does not run AppArmor"):
            run("web", apparmor="web")


def test_unconfined_may_be_said_with_apparmor_and_without(engine: Engine, run: Run) -> None:
    container = run("web", apparmor="unconfined")

    assert label_of(container.state.pid) == ("unconfined" if apparmor.enabled() else "")
