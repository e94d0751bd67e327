"""Namespaces shared with the host, an init process, and how much of the output is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netmodel.engine import Engine, init
from netmodel.errors import Conflict, Invalid, MissingFeature
from netmodel.model import LogConfig
from tests.netmodel.engine.conftest import Run, output_of
from tests.netmodel.engine.shared import engine, host
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def namespace(engine: Engine, name: str, kind: str) -> str:
    return output_of(engine, name, "readlink", f"/proc/self/ns/{kind}").strip()


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("uts", {"uts_mode": "host"}),
        ("ipc", {"ipc_mode": "host"}),
        ("pid", {"pid_mode": "host", "userns_mode": "host"}),
        ("cgroup", {"cgroupns_mode": "host"}),
    ],
)
def test_a_namespace_is_the_hosts_when_asked_for(engine: Engine, run: Run, kind: str, config: dict[str, str]) -> None:
    run("box", **config)

    ours = str(Path(f"/proc/self/ns/{kind}").readlink())
    assert namespace(engine, "box", kind) == ours
    others = {"uts", "ipc", "pid", "cgroup"} - {kind}
    assert all(namespace(engine, "box", other) != str(Path(f"/proc/self/ns/{other}").readlink()) for other in others)


@pytest.mark.parametrize("mode", ["uts_mode", "ipc_mode", "pid_mode", "cgroupns_mode"])
def test_a_mode_that_is_none(run: Run, mode: str) -> None:
    with pytest.raises(Invalid, match=r"no such \w+( namespace)? mode: hots"):
        run("mistaken", **{mode: "hots"})


def test_the_hosts_shared_memory(engine: Engine, run: Run, tmp_path: Path) -> None:
    mark = Path("/dev/shm") / f"netmodel-{os.getpid()}-{tmp_path.name}"
    mark.write_text("here")
    try:
        run("box", ipc_mode="host")
        assert output_of(engine, "box", "cat", str(mark)) == "here"
    finally:
        mark.unlink()


def test_without_shared_memory(engine: Engine, run: Run) -> None:
    run("box", ipc_mode="none")

    assert "/dev/shm" not in output_of(engine, "box", "cat", "/proc/self/mounts")


def test_what_shares_the_hosts_processes_leaves_none_behind(engine: Engine, run: Run) -> None:
    box = run("box", pid_mode="host", userns_mode="host", command=("sh", "-c", "sleep 4711 & exec sleep infinity"))
    eventually(lambda: len(engine.top("box").rows) == 2)
    pids = [int(row[1]) for row in engine.top("box").rows]
    assert output_of(engine, "box", "sh", "-c", f"test -d /proc/{os.getpid()} && echo seen") == "seen\n"

    engine.stop(box.id, 0)

    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_the_hosts_processes_need_the_hosts_users(run: Run) -> None:
    with pytest.raises(Conflict, match="user namespace"):
        run("box", pid_mode="host")


def test_processes_are_shared_with_who_shares_the_network(engine: Engine, run: Run) -> None:
    run("web", command=("sh", "-c", "exec sleep 4713"))

    run("debug", network_mode="container:web", pid_mode="container:web")

    assert "sleep 4713" in output_of(engine, "debug", "ps", "-e", "-o", "args=")
    assert namespace(engine, "debug", "pid") == namespace(engine, "web", "pid")
    assert namespace(engine, "debug", "mnt") != namespace(engine, "web", "mnt")
    engine.stop("web", 0)
    eventually(lambda: engine.container("debug").state.status == "exited")
    with pytest.raises(Conflict, match="does not run"):
        engine.start("debug")


def test_init_passes_signals_on_and_reaps(engine: Engine, run: Run) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    run("box", init=True, command=("sh", "-c", script))
    eventually(lambda: list(engine.logs("box")))

    assert output_of(engine, "box", "cat", "/proc/1/comm") == "docker-init\n"
    # Its parent gone, an orphan is the first process's to reap.
    output_of(engine, "box", "sh", "-c", "(sleep 0.05 &)")
    eventually(lambda: "Z" not in output_of(engine, "box", "ps", "-e", "-o", "stat="))
    engine.stop("box")

    assert engine.container("box").state.exit_code == 5
    assert [entry.log for entry in engine.logs("box")] == ["ready\n", "bye\n"]


def test_a_machine_without_an_init_program() -> None:
    with pytest.raises(MissingFeature, match="no init program"):
        init.find(("/nowhere/tini",))


def test_logs_are_rotated(engine: Engine, run: Run) -> None:
    """And followed from one file to the next."""
    log = LogConfig(driver="json-file", options={"max-size": "4k", "max-file": "3"})
    run("box", log=log, command=("sh", "-c", "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done"))

    engine.wait("box").result(20)

    kept = [entry.log for entry in engine.logs("box")]
    assert kept[-1] == "line 199\n"
    assert 60 < len(kept) < 200
    assert [entry.log for entry in engine.logs("box", tail=100)] == kept[-100:]
    files = engine._parts.containers.files(engine.container("box").id).directory
    assert sorted(path.name for path in files.glob("log*")) == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    assert all(path.stat().st_size <= 4096 for path in files.glob("log*"))


def test_full_logs_of_local_are_compressed(engine: Engine, run: Run) -> None:
    log = LogConfig(driver="local", options={"max-size": "4k"})
    run("box", log=log, command=("sh", "-c", "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done"))
    engine.wait("box").result(20)
    directory = engine.log_path("box").parent

    eventually(lambda: {path.suffix for path in directory.glob("log.jsonl.*")} == {".gz"})

    assert [entry.log for entry in engine.logs("box")] == [f"line {number}\n" for number in range(200)]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (LogConfig(driver="syslog"), "log driver 'syslog'"),
        (LogConfig(options={"max-size": "big"}), "max-size=big"),
        (LogConfig(options={"max-file": "3"}), "without max-size"),
        (LogConfig(options={"max-size": "1m", "max-file": "0"}), "max-file=0"),
        (LogConfig(options={"colour": "red"}), "colour=red"),
        (LogConfig(options={"compress": "true"}), "compresses nothing"),
        (LogConfig(options={"compress": "often"}), "neither true nor false"),
        (LogConfig(options={"env-regex": "("}), "no regular expression"),
        (LogConfig(options={"tag": "{{.Colour}}"}), "there is no {{.Colour}}"),
        (LogConfig(options={"tag": "{{json .ID}}"}), "only fields are known"),
    ],
)
def test_mistakes_about_logs(run: Run, log: LogConfig, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        run("box", log=log)
