"""Processes of ours that die: nobody waits in vain, nothing is lost that could be kept, and it goes on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.netmodel.trouble.state import expect_state, state_of
from tests.support.daemon import NETMODEL, Daemon
from tests.support.disk import disk, is_free
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def calm(daemon: Daemon) -> Iterator[Daemon]:
    """The module's engine, and afterwards as before: what a test removed of its own left nothing."""
    daemon.ok("run", "--rm", "host", "true")  # so that the default network stands before the first look
    eventually(lambda: " nm" not in daemon.box.run("ip", "-o", "link").stdout, what="the last link's end")
    before = state_of(daemon)
    yield daemon
    if daemon.process is None or daemon.process.poll() is not None:
        daemon.start()  # the test failed before it did
    for container in daemon.client.get("/containers/json", all=True):
        daemon.client.delete(f"/containers/{container['Id']}", force=True, v=True)
    expect_state(daemon, before)


def inspect(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.client.get(f"/containers/{name}/json")
    return found


def finish(client: subprocess.Popen[str], timeout_s: float = 15) -> tuple[int, str, str]:
    out, err = client.communicate(timeout=timeout_s)
    return client.returncode, out, err


# --- the spawner --------------------------------------------------------------------------------


def test_the_spawner(calm: Daemon) -> None:
    """Its containers die with it: they are reported so, and the next one finds a new spawner."""
    calm.ok("run", "-d", "--name", "web", "-p", "8085:80", "host", "sleep", "infinity")
    calm.ok("run", "-d", "--name", "side", "--network", "container:web", "host", "sleep", "infinity")
    address = inspect(calm, "web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    pids = [inspect(calm, name)["State"]["Pid"] for name in ("web", "side")]
    waiting = [
        calm.popen(NETMODEL, *command.split())
        for command in ("wait web", "logs -f side", "exec web sleep infinity", "run --name front host sleep infinity")
    ]
    eventually(lambda: len(calm.client.get("/containers/json")) == 3, what="the one in front")
    eventually(lambda: _has_child(pids[0]), what="the further process")
    spawner = calm.client.get("/netmodel/status")["spawner_pid"]

    os.kill(spawner, signal.SIGKILL)

    (code, out, _), (followed, _, _), (executed, _, _), (front, _, said) = map(finish, waiting)
    assert (code, out) == (0, "255\n")
    assert followed == 0
    assert executed in (1, 137)
    assert front in (125, 255), said
    for pid in pids:
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), what="the container's death")
    for name in ("web", "side", "front"):
        state = inspect(calm, name)["State"]
        assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 255, 0)
        assert state["Error"] == "its parent process (the spawner) died, and the container with it"
    # Its port is free, its address is still its own.
    calm.ok("run", "--rm", "-p", "8085:80", "host", "true")
    calm.ok("start", "web")
    assert inspect(calm, "web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == address
    assert calm.client.get("/netmodel/status")["spawner_pid"] != spawner
    calm.ok("start", "side")
    assert address in calm.ok("exec", "side", "ip", "address", "show", "eth0")


def _has_child(pid: int) -> bool:
    """Whether somebody else is in the PID namespace of a container's first process."""
    return len([True for entry in Path("/proc").glob("[0-9]*/ns/pid") if _same(entry, pid)]) > 1


def _same(namespace: Path, pid: int) -> bool:
    try:
        return namespace.readlink() == Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:  # it has just ended
        return False


def test_the_spawner_while_many_start(calm: Daemon) -> None:
    """Each request ends, one way or the other; afterwards everything works again."""
    clients = [calm.popen(NETMODEL, "run", "-d", "--name", f"n{number}", "host", "sleep", "9") for number in range(4)]
    eventually(lambda: calm.client.get("/containers/json", all=True), what="the first container")
    os.kill(calm.client.get("/netmodel/status")["spawner_pid"], signal.SIGKILL)

    for code, _, err in map(finish, clients):
        assert code in (0, 125)
        assert "Traceback" not in err
    assert calm.ok("run", "--rm", "host", "echo", "well") == "well"
    eventually(
        lambda: {one["State"] for one in calm.client.get("/containers/json", all=True)} <= {"exited", "running"},
        what="nobody half started",
    )


def test_the_forker(calm: Daemon) -> None:
    """What the spawner forks with; its containers are the spawner's own children and run on."""
    calm.ok("run", "-d", "--name", "web", "host", "sleep", "infinity")
    spawner = calm.client.get("/netmodel/status")["spawner_pid"]
    for pid in calm.spawners():
        if pid != spawner:
            os.kill(pid, signal.SIGKILL)

    assert calm.ok("run", "--rm", "host", "echo", "well") == "well"
    assert calm.ok("exec", "web", "echo", "there") == "there"


# --- the nft worker -----------------------------------------------------------------------------


def test_the_nft_worker(calm: Daemon) -> None:
    """Ports alone need none; networks do."""
    os.kill(_nft_worker(calm.pid), signal.SIGKILL)

    calm.ok("network", "create", "more")
    calm.ok("run", "-d", "--name", "web", "--network", "more", "-p", "8085:80", "host", "sleep", "infinity")
    os.kill(_nft_worker(calm.pid), signal.SIGKILL)
    calm.ok("rm", "-f", "web")
    calm.ok("network", "rm", "more")


def _nft_worker(engine: int) -> int:
    """By its parent: whose thread that is changes when the one that started it ends."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == engine and b"nft_worker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    [worker] = found
    return worker


# --- the engine ---------------------------------------------------------------------------------


def test_the_engine(calm: Daemon) -> None:
    """Containers run on; what they print and how they end is known to the next one."""
    script = "echo before; read x < /run/go/pipe; echo after; exit %d"
    for number in (0, 7):
        calm.ok("run", "-d", "--name", f"ends{number}", "--tmpfs", "/run/go", "host", "sh", "-c",
                f"mkfifo /run/go/pipe; {script % number}")  # fmt: skip
    calm.ok("run", "-d", "--name", "killed", "host", "sleep", "infinity")
    calm.ok("run", "-d", "--name", "stays", "-p", "8085:80", "host", "sh", "-c", "while sleep 0.05; do echo tick; done")
    pids = {name: inspect(calm, name)["State"]["Pid"] for name in ("ends0", "ends7", "killed", "stays")}
    for name in ("ends0", "ends7"):
        eventually(lambda name=name: Path(f"/proc/{pids[name]}/root/run/go/pipe").exists(), what="the pipe")
    ticks = len(calm.ok("logs", "stays").splitlines())
    clients = [
        calm.popen(NETMODEL, *shlex.split(command))
        for command in ("logs -f stays", "exec stays sh -c 'echo; sleep 99'")
    ]
    for client in clients:  # both are answered already
        assert client.stdout is not None
        client.stdout.readline()

    calm.stop(signal.SIGKILL)
    (followed, _, said), (executed, _, told) = map(finish, clients)
    assert said.startswith("error: the engine went away in the middle of its answer\nhint: containers run on")
    assert told.startswith(("error: no engine is running at ", "error: the engine at "))
    assert (followed, executed) == (1, 1)
    for name in ("ends0", "ends7"):
        Path(f"/proc/{pids[name]}/root/run/go/pipe").write_text("go\n")
    os.kill(pids["killed"], signal.SIGKILL)
    for name in ("ends0", "ends7", "killed"):
        eventually(lambda name=name: not Path(f"/proc/{pids[name]}").exists(), what="its end")
    ended = time.time()
    calm.start()

    found = {name: inspect(calm, name)["State"] for name in pids}
    assert {name: (state["Status"], state["ExitCode"]) for name, state in found.items()} == {
        "ends0": ("exited", 0),
        "ends7": ("exited", 7),
        "killed": ("exited", 137),
        "stays": ("running", 0),
    }
    assert calm.ok("logs", "ends7").splitlines() == ["before", "after"]
    assert found["ends7"]["FinishedAt"] < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ended + 1))
    assert found["stays"]["Pid"] == pids["stays"]
    eventually(lambda: len(calm.ok("logs", "stays").splitlines()) > ticks, what="more lines in the log")
    assert calm.netmodel("run", "-p", "8085:80", "host", "true").returncode == 125
    assert calm.ok("wait", "ends7") == "7"


# --- a container --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["kill", "stop -t 1", "rm -f", "restart -t 1"])
def test_a_container_that_was_stopped_by_a_signal(calm: Daemon, command: str) -> None:
    """SIGSTOP holds back every signal but SIGKILL."""
    calm.ok("run", "-d", "--name", "held", "host", "sh", "-c", "trap exit TERM; while :; do sleep 0.1; done")
    pid = inspect(calm, "held")["State"]["Pid"]
    os.kill(pid, signal.SIGSTOP)

    calm.ok(*command.split(), "held")

    eventually(lambda: not Path(f"/proc/{pid}").exists(), what="its end")


# --- a client -----------------------------------------------------------------------------------


def test_a_client_that_follows_or_waits(calm: Daemon) -> None:
    calm.ok("run", "-d", "--name", "loud", "host", "sh", "-c", "while sleep 0.02; do echo tick; done")
    threads = Path(f"/proc/{calm.pid}/task")
    before = len(list(threads.iterdir()))
    for command in ("logs -f loud", "wait loud", "exec loud sleep infinity", "events"):
        client = calm.popen(NETMODEL, *command.split())
        if command.startswith("logs"):
            assert client.stdout is not None
            assert client.stdout.readline() == "tick\n"
        client.kill()
        client.communicate()

    assert calm.ok("ps", "--format", "{{.Names}}") == "loud"
    # Nobody goes on for a client that has left.
    eventually(lambda: len(list(threads.iterdir())) <= before + 8, what="the threads of those requests")


def test_a_client_that_leaves_an_up(calm: Daemon, tmp_path: Path) -> None:
    """What was begun is finished: half a topology serves nobody."""
    file = tmp_path / "many.yaml"
    file.write_text("services: {n: {image: host, command: sleep infinity, deploy: {replicas: 12}}}\n")
    client = calm.popen(NETMODEL, "up", str(file))
    eventually(lambda: calm.client.get("/containers/json", all=True), what="the first container")
    client.kill()
    client.communicate()

    eventually(lambda: len(calm.client.get("/containers/json")) == 12, what="all of them")
    calm.ok("down", str(file))


def test_interrupted_in_the_middle_of_an_up(calm: Daemon, tmp_path: Path) -> None:
    """Ctrl-C ends the command; the way back is down, which waits for what is under way."""
    file = tmp_path / "many.yaml"
    file.write_text("services: {n: {image: host, command: sleep infinity, deploy: {replicas: 12}}}\n")
    client = calm.popen(NETMODEL, "up", str(file))
    eventually(lambda: calm.client.get("/containers/json", all=True), what="the first container")

    client.send_signal(signal.SIGINT)
    code, _, err = finish(client)

    assert code == 130
    assert "Traceback" not in err
    calm.ok("down", str(file))
    assert calm.client.get("/containers/json", all=True) == []


def test_many_at_once(calm: Daemon) -> None:
    """Fifty clients: every container runs, with an address of its own."""
    clients = [calm.client for _ in range(50)]
    processes = [calm.popen(NETMODEL, "run", "-d", "host", "sleep", "infinity") for _ in range(4)]

    def run(number: int) -> None:
        body = {"Image": "host", "Cmd": ["sleep", "infinity"]}
        made = clients[number].post("/containers/create", body, name=f"c{number}")["Id"]
        clients[number].post(f"/containers/{made}/start")

    with ThreadPoolExecutor(46) as pool:
        list(pool.map(run, range(46)))
    assert [finish(process)[0] for process in processes] == [0] * 4

    found = calm.client.get("/containers/json")
    addresses = {one["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] for one in found}
    assert len(found) == len(addresses) == 50
    assert json.loads(calm.ok("network", "inspect", "bridge"))[0]["Containers"].keys() == {one["Id"] for one in found}
    calm.ok("rm", "-f", *(one["Id"] for one in found))


def test_a_volume_s_file_system_is_held_by_who_runs_on_and_let_go_of_when_nobody_does(
    calm: Daemon, tmp_path: Path
) -> None:
    """The engine dies, and then its containers: one, then the other."""
    with disk(tmp_path, "ext4") as device:
        calm.ok("volume", "create", "-o", "type=ext4", "-o", f"device={device}", "disk")
        for name in ("a", "b"):
            calm.ok("run", "-d", "--name", name, "-v", "disk:/x", "host", "sleep", "infinity")
        try:
            for ended, left in (("b", False), ("a", True)):
                pid = inspect(calm, ended)["State"]["Pid"]
                calm.stop(signal.SIGKILL)
                os.kill(pid, signal.SIGKILL)
                calm.start()
                assert inspect(calm, ended)["State"]["Running"] is False
                assert eventually(lambda: is_free(device)) if left else not is_free(device)
                assert (calm.root / "volumes/disk/_data").is_mount() is not left
        finally:
            calm.ok("rm", "-f", "a", "b")
            calm.ok("volume", "rm", "disk")
