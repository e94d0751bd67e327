"""The socket: one engine at a time, nobody else's file touched."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from netmodel.client.address import connect
from netmodel.daemon.listener import Listener, listening_pid
from netmodel.errors import Conflict, Invalid


def test_only_root_may_use_it_and_it_goes_with_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "run" / "e.sock"
    listener = Listener(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listening_pid(path) == os.getpid()
    listener.close()
    assert list(path.parent.iterdir()) == []


def test_a_socket_that_a_dead_engine_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()

    listener = Listener(path)

    assert listening_pid(path) == os.getpid()
    listener.close()


def test_a_living_one_is_not_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    listener = Listener(path)

    with pytest.raises(Conflict, match=f"process {os.getpid()} already listens"):
        Listener(path)

    assert listening_pid(path) == os.getpid()
    listener.close()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("precious")
    (tmp_path / "l").symlink_to(tmp_path / "f")

    for name, what in (("d", "a directory"), ("f", "a file"), ("l", "a symbolic link")):
        with pytest.raises(Invalid, match=what):
            Listener(tmp_path / name)
    with pytest.raises(Invalid, match="not a directory"):
        Listener(tmp_path / "f" / "e.sock")

    assert (tmp_path / "f").read_text() == "precious"


def test_a_path_longer_than_the_kernel_s_108_bytes(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "e.sock"
    listener = Listener(path)

    connect(str(path)).close()

    assert listening_pid(path) == os.getpid()
    listener.close()
