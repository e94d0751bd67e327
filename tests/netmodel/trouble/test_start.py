"""An engine that cannot start says why, in the foreground and behind the first command alike, and touches nothing."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmodel.client import Client
from tests.netmodel.trouble.state import told, unchanged
from tests.support.box import Box
from tests.support.daemon import Daemon, running

pytestmark = pytest.mark.kernel


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[Daemon]:
    """No engine, and none is expected to start."""
    box = Box("host")
    daemon = Daemon(box, tmp_path)
    yield daemon
    daemon.kill_what_is_left()
    box.close()


def refused(daemon: Daemon, *options: str) -> list[str]:
    """What both `engine run` and a first command say; they say the same, and leave no socket and no process."""
    front = told(daemon.netmodel(*options, "engine", "run"))
    behind = told(daemon.netmodel(*options, "ps"))
    assert front[0] in (1, 2)
    assert behind[0] == 1  # the request is right, whatever was wrong with the engine's
    assert [line for line in front[1] if line.startswith(("error: ", "hint: "))] == behind[1]
    assert daemon.spawners() == []
    return behind[1]


def test_one_runs_on_that_root_already(daemon: Daemon, tmp_path: Path) -> None:
    with unchanged(daemon):
        code, lines = told(daemon.netmodel("--host", str(tmp_path / "e.sock"), "engine", "run"))

    assert lines == [
        f"error: an engine is already running on {daemon.root} (pid {daemon.pid})",
        "hint: use it, stop it with 'netmodel engine stop', or choose another --root",
    ]
    assert code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_another_versions(cold: Daemon) -> None:
    cold.root.mkdir()
    database = cold.root / "state.db"
    with sqlite3.connect(database) as other:
        other.execute("PRAGMA user_version=99")
    other.close()
    before = database.read_bytes()

    assert refused(cold) == [
        f"error: {database} has format 99, this engine reads format 1",
        "hint: use the netmodel version that wrote it, or another --root",
    ]
    assert database.read_bytes() == before


def test_the_store_is_damaged(cold: Daemon) -> None:
    cold.root.mkdir()
    database = cold.root / "state.db"
    database.write_bytes(b"this is no database" * 1000)

    assert refused(cold) == [
        f"error: {database} is damaged: file is not a database",
        "hint: put a copy back, or choose another --root",
    ]
    assert database.read_bytes() == b"this is no database" * 1000


def test_something_in_the_way_of_the_root(cold: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")

    for root in (tmp_path / "file", tmp_path / "file" / "root", Path("/proc/root")):
        error, *hint = refused(cold, "--root", str(root))
        assert error.startswith(f"error: cannot use {root} as the state root: ")
        assert hint == ["hint: choose another --root"]
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_something_in_the_way_of_the_socket(cold: Daemon, tmp_path: Path, kind: str) -> None:
    host = tmp_path / "there"
    if kind == "directory":
        host.mkdir()
    elif kind == "file":
        host.write_text("precious")
    else:
        host.symlink_to("/nowhere")
    what = {"directory": "a directory", "file": "a file", "link": "a symbolic link"}[kind]

    assert refused(cold, "--host", str(host)) == [
        f"error: {host} is {what}, not a socket",
        "hint: move it out of the way or choose another --host",
    ]
    assert host.is_symlink() or host.is_dir() or host.read_text() == "precious"


def test_the_sockets_directory_is_none(cold: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")

    assert refused(cold, "--host", str(tmp_path / "file" / "e.sock")) == [
        f"error: {tmp_path}/file is not a directory, so no socket can be in it",
        "hint: choose another --host",
    ]


def test_another_program_listens_there(cold: Daemon, tmp_path: Path) -> None:
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(tmp_path / "other.sock"))
    other.listen()
    with other:
        code, lines = told(cold.netmodel("--host", str(tmp_path / "other.sock"), "engine", "run"))

    assert code == 1
    assert lines[0].startswith("error: process ")
    assert lines[0].endswith(f" already listens at {tmp_path}/other.sock")
    assert lines[1] == "hint: stop it first, or choose another --host"


def test_an_address_that_is_no_socket(cold: Daemon) -> None:
    assert told(cold.netmodel("--host", "tcp://127.0.0.1:2375", "ps")) == (
        2,
        [
            "error: host 'tcp://127.0.0.1:2375': only unix sockets are served, as a path or unix:///PATH",
            "hint: see netmodel ps --help",
        ],
    )


def test_a_path_too_long_for_the_kernel_is_none_for_us(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with running(deep) as daemon:
        assert len(str(daemon.host)) > 200
        assert daemon.ok("run", "--rm", "host", "echo", "well") == "well"


def test_a_client_of_a_later_api(daemon: Daemon) -> None:
    client = Client(str(daemon.host), start=False)

    with pytest.raises(Exception, match=r"client version 9.99 is too new. Maximum supported API version is 1\.\d\d"):
        client.get("/v9.99/containers/json")


def test_what_a_killed_engine_left_is_in_nobodys_way(tmp_path: Path) -> None:
    """The socket, the locks, the log of the store: the next one takes over without a word."""
    with running(tmp_path) as daemon:
        daemon.stop(9)
        assert daemon.host.exists()

        daemon.start()

        assert daemon.ok("ps", "-q") == ""
