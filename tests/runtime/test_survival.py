"""The spawner's own life, over the engine's death and until nothing is left to keep; and what a failure leaves."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.client import Exited, Spawner
from runtime.errors import RuntimeFault, SpawnerUnavailable
from runtime.spec import BindMount, IdMap, Ulimit
from tests.runtime.lab import Lab, process, shell
from tests.support.box import Box
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.warm_up()
    return lab


def test_containers_outlive_the_engine_and_are_found_again(lab: Lab) -> None:
    runs = lab.start(shell("while :; do echo tick; sleep 0.02; done"))
    ended = lab.start(shell("echo bye; exit 9"))
    lab.ended(ended)
    pid = lab.spawner.pid
    lab.spawner.close()

    lab.spawner = Spawner.connect(lab.directory / "spawner", start=False)

    assert lab.spawner.pid == pid
    assert lab.status(runs).state == "running"
    assert lab.status(ended).exit_code == 9
    assert sorted(lab.spawner.pins()) == sorted([runs.sandbox, ended.sandbox])
    size = len(lab.entries(runs))
    eventually(lambda: len(lab.entries(runs)) > size)


def test_ends_that_nobody_heard_are_told_to_the_next_engine(lab: Lab) -> None:
    spec = lab.sleeper()
    pid = lab.status(spec).pid
    lab.spawner.close()
    os.kill(pid, signal.SIGKILL)

    lab.spawner = Spawner.connect(lab.directory / "spawner", start=False)
    heard: list[Exited] = []
    eventually(lambda: lab.status(spec).state == "exited")
    lab.spawner.on_exit = heard.append

    eventually(lambda: heard)
    assert (heard[0].id, heard[0].exit_code, heard[0].signal) == (spec.id, 137, 9)


def test_an_engine_that_is_killed_takes_nothing_with_it(lab: Lab, tmp_path: Path) -> None:
    """A process of its own starts the spawner's next client, and is killed while it waits for an answer."""
    spec = lab.sleeper()
    lab.spawner.close()
    engine = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
            import time
            from pathlib import Path
            from runtime.client import Spawner
            spawner = Spawner.connect(Path({str(lab.directory / "spawner")!r}), start=False)
            print(len(spawner.status()), flush=True)
            time.sleep(60)
        """)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert engine.stdout is not None
    assert engine.stdout.readline() == b"1\n"
    engine.kill()
    engine.wait()
    engine.stdout.close()

    lab.spawner = Spawner.connect(lab.directory / "spawner", start=False)

    assert lab.status(spec).state == "running"
    assert lab.exec(spec, "echo alive")[1] == "alive\n"


def test_a_new_engine_replaces_the_old(lab: Lab) -> None:
    lost = threading.Event()
    old = lab.spawner
    old.on_lost = lost.set

    lab.spawner = Spawner.connect(lab.directory / "spawner")

    assert lost.wait(10)
    with pytest.raises(SpawnerUnavailable):
        old.status()
    assert lab.spawner.status() == []
    old.close()


def test_containers_die_with_the_spawner(host: Box, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    running, waiting = lab.sleeper(), lab.spec(process("true"))
    created = lab.spawner.create(waiting)
    pids = [lab.status(running).pid, created.pid]

    lab.close()

    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_shutdown_waits_for_containers_to_be_gone(host: Box, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    spec = lab.sleeper()
    pid = lab.spawner.pid
    with pytest.raises(RuntimeFault, match="containers are still there"):
        lab.spawner.shutdown()
    lab.spawner.signal(spec.id, 9)
    lab.ended(spec)

    lab.spawner.shutdown()

    eventually(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(SpawnerUnavailable, match="no spawner answers"):
        Spawner.connect(tmp_path / "spawner", start=False)


def test_a_long_path_and_a_stale_socket(host: Box, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["directory-with-a-long-name"] * 8)
    first = Lab(deep)
    pid = first.spawner.pid
    first.close()
    assert (deep / "spawner" / "spawner.sock").exists()

    second = Lab(deep)

    assert second.spawner.pid != pid
    second.close()


def test_two_connect_at_once_and_share_one_spawner(host: Box, tmp_path: Path) -> None:
    found: list[Spawner] = []
    threads = [threading.Thread(target=lambda: found.append(Spawner.connect(tmp_path / "spawner"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0].pid == found[1].pid
    for spawner in found:
        spawner.close()
    os.kill(found[0].pid, signal.SIGKILL)


def test_it_does_not_start_where_it_cannot_listen(host: Box, tmp_path: Path) -> None:
    (tmp_path / "spawner.sock").mkdir()

    with pytest.raises(SpawnerUnavailable, match="Is a directory"):
        Spawner.connect(tmp_path)


# --- what a failure leaves -----------------------------------------------------------------------


def state(lab: Lab) -> tuple[Any, ...]:
    return lab.descriptors(), lab.children(), lab.spawner.pins(), lab.spawner.status(), mounts()


def mounts() -> list[str]:
    return sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.mark.parametrize(
    "fields",
    [
        {"mounts": (BindMount(source="/etc", target="/e"), BindMount(source="/no/such", target="/m"))},
        {"idmap": IdMap(base=4_294_967_000)},
        {"log": "/no/such/directory/log"},
    ],
)
def test_a_failed_creation_leaves_nothing(lab: Lab, fields: dict[str, Any]) -> None:
    warm = lab.start(process("true"))
    lab.ended(warm)
    before = state(lab)
    spec = replace(lab.spec(process("true")), **fields)

    for _ in range(3):
        with pytest.raises(RuntimeFault) as caught:
            lab.spawner.create(spec)
        assert str(caught.value).count("\n") == 0

    eventually(lambda: state(lab) == before)


@pytest.mark.parametrize(
    ("first", "fields"),
    [
        (process("no-such-program"), {}),
        (process("true", user="nobody-here"), {}),
        (process("true", ulimits=(Ulimit(name="nofile", soft=2**40, hard=2**40),)), {}),
        (process("true"), {"cgroups": ("/sys/fs/cgroup/no/such/group",)}),
        (process("true"), {"sysctls": (("net.no.such", "1"),)}),
        (process("true"), {"sysctls": (("kernel.panic", "1"),)}),
        (process("true"), {"mounts": (BindMount(source="/etc", target="/etc/passwd"),)}),
        (process("true"), {"devices": ("/dev/no-such",)}),
    ],
)
def test_a_failed_start_leaves_only_the_sandbox(lab: Lab, first: Any, fields: dict[str, Any]) -> None:
    before = state(lab)
    spec = lab.spec(first, **fields)

    lab.spawner.create(spec)
    with pytest.raises(RuntimeFault) as caught:
        lab.spawner.start(spec.id)
    lab.spawner.unpin(spec.sandbox)

    assert str(caught.value).count("\n") == 0
    eventually(lambda: state(lab) == before)


def test_a_whole_life_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    before = state(lab)
    for terminal in (False, True):
        spec = lab.start(shell("echo hello", terminal=terminal), mounts=(BindMount(source=str(tmp_path), target="/m"),))
        lab.ended(spec)
        lab.spawner.forget(spec.id)
        lab.spawner.unpin(spec.sandbox)

    eventually(lambda: state(lab) == before)


def test_a_creation_is_undone_by_forgetting_it(lab: Lab) -> None:
    before = state(lab)
    spec = lab.spec(process("true"))
    lab.spawner.create(spec)

    lab.spawner.forget(spec.id)
    lab.spawner.unpin(spec.sandbox)

    eventually(lambda: state(lab) == before)


def test_a_child_killed_before_its_start(lab: Lab) -> None:
    spec = lab.spec(process("true"))
    os.kill(lab.spawner.create(spec).pid, signal.SIGKILL)

    with pytest.raises(RuntimeFault, match="killed before its program could start"):
        lab.spawner.start(spec.id)


def test_many_lives_at_once_are_all_told_and_leave_nothing(lab: Lab) -> None:
    before = state(lab)
    ends: dict[str, int] = {}
    lab.spawner.on_exit = lambda event: ends.update({event.id: event.exit_code})

    def live(number: int) -> tuple[str, int]:
        spec = lab.start(shell(f"exit {number}"))
        eventually(lambda: spec.id in ends)
        lab.spawner.forget(spec.id)
        lab.spawner.unpin(spec.sandbox)
        return spec.id, number

    with ThreadPoolExecutor(8) as pool:
        lived = dict(pool.map(live, range(48)))

    assert ends == lived
    eventually(lambda: state(lab) == before)


def test_the_process_that_forks_may_die(lab: Lab) -> None:
    running = lab.sleeper()
    (forker,) = (pid for pid in lab.children() if Path(f"/proc/{pid}/comm").read_text() == "netmodel-fork\n")
    before = lab.descriptors()

    os.kill(forker, signal.SIGKILL)

    assert lab.exec(running, "ulimit -Sn; ls /proc/self/fd")[1].split() == [
        str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), "0", "1", "2", "3",
    ]  # fmt: skip
    assert lab.run("echo made") == "made\n"
    eventually(lambda: forker not in lab.children())
    assert len(lab.descriptors()) == len(before) + 2  # the sandbox of the second


def test_the_same_container_twice(lab: Lab) -> None:
    spec = lab.sleeper()

    with pytest.raises(RuntimeFault, match="is running already") as caught:
        lab.spawner.create(spec)

    assert caught.value.kind == "conflict"
    assert lab.status(spec).state == "running"
