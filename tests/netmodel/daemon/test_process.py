"""The engine's process: one a root, gone without a trace, replaced without a loss."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netmodel.client import EngineUnavailable
from tests.support.daemon import Daemon, running

pytestmark = pytest.mark.kernel


def test_containers_outlive_their_engine(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        made = daemon.ok("run", "-d", "--name", "lasting", "host", "sh", "-c", "echo before; sleep infinity")
        pid = daemon.client.get("/containers/lasting/json")["State"]["Pid"]

        assert daemon.stop(signal.SIGTERM) == 0
        assert not daemon.host.exists()
        daemon.start()
        daemon.stop(signal.SIGKILL)
        daemon.start()

        state = daemon.client.get(f"/containers/{made}/json")["State"]
        assert (state["Status"], state["Pid"]) == ("running", pid)
        assert daemon.ok("logs", "lasting") == "before"
        assert daemon.ok("exec", "lasting", "echo", "still here") == "still here"


def test_followers_and_waiters_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        daemon.ok("run", "-d", "--name", "quiet", "host", "sleep", "infinity")
        client = daemon.client
        streams = [
            client.open("GET", "/containers/quiet/logs", stdout=True, follow=True),
            client.open("POST", "/containers/quiet/wait"),
            client.open("GET", "/events"),
        ]
        exec_id = client.post("/containers/quiet/exec", {"Cmd": ["sleep", "infinity"]})["Id"]
        connection, _ = client.hijack(f"/exec/{exec_id}/start", {})

        assert daemon.stop() == 0

        with connection:
            assert connection.recv(1) == b""
        for stream in streams:
            with stream, pytest.raises(EngineUnavailable):
                stream.read()


def test_a_second_engine_on_the_socket_or_the_root_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    socket = daemon.netmodel("--root", str(tmp_path / "other"), "engine", "run")
    root = daemon.netmodel("--host", str(tmp_path / "e.sock"), "engine", "run")

    assert (socket.returncode, root.returncode) == (1, 1)
    assert f"process {daemon.pid} already listens at {daemon.host}" in socket.stderr
    assert str(daemon.root) in root.stderr
    assert not (tmp_path / "e.sock").exists()


def test_something_in_the_way_of_the_socket(daemon: Daemon, tmp_path: Path) -> None:
    done = daemon.netmodel("--host", str(tmp_path), "--root", str(tmp_path / "r"), "engine", "run")

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"error: {tmp_path} is a directory, not a socket"
    assert not (tmp_path / "r").exists()


_AS_NOBODY = """
import importlib, os, pkgutil, sys
import netmodel.cli
# Before the change: the checkout may lie where only root can read.
for module in pkgutil.iter_modules(netmodel.cli.__path__, "netmodel.cli."):
    importlib.import_module(module.name)
os.setgid(65534)
os.setuid(65534)
sys.exit(netmodel.cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["engine run", "engine status", "ps", "up nothing.yaml", "network ls", "doctor"])
def test_nobody_but_root(command: str) -> None:
    done = subprocess.run([sys.executable, "-c", _AS_NOBODY, *command.split()], capture_output=True, text=True, cwd="/")

    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("error: netmodel must run as root")
    assert len(done.stderr.splitlines()) == 2
