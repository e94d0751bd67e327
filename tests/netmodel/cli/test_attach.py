"""attach, start -a, the keys that detach, and container prune."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netmodel.cli.terminal import Keys
from tests.support.daemon import NETMODEL, Daemon, needs_docker
from tests.support.wait import eventually


@pytest.mark.parametrize(
    ("typed", "sent", "detached"),
    [
        ((b"ls\r",), b"ls\r", False),
        ((b"\x10\x11",), b"", True),
        ((b"\x10", b"\x11"), b"", True),
        ((b"a\x10", b"b\x10", b"\x11c"), b"a\x10b", True),
        ((b"\x10", b"\x10", b"\x11"), b"\x10", True),
    ],
)
def test_keys(typed: tuple[bytes, ...], sent: bytes, detached: bool) -> None:
    keys = Keys("ctrl-p,ctrl-q")

    answers = [keys.typed(data) for data in typed]

    assert b"".join(answer[0] for answer in answers) == sent
    assert answers[-1][1] is detached


@contextmanager
def terminal(daemon: Daemon, *argv: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A netmodel command with a terminal of its own."""
    master, slave = pty.openpty()
    with daemon.box.entered():
        process = subprocess.Popen(
            [NETMODEL, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=daemon.environment,
            start_new_session=True,
        )
    os.close(slave)
    try:
        yield master, process
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_until(master: int, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        data += os.read(master, 4096)
    return data


@pytest.mark.kernel
def test_one_detaches_and_attaches_again(daemon: Daemon) -> None:
    with terminal(
        daemon, "run", "-it", "--name", "shell", "host", "sh", "-c", "read a; echo got $a; read b; exit 3"
    ) as (
        master,
        process,
    ):
        eventually(lambda: "Up" in daemon.ok("ps", "-f", "name=shell"))
        os.write(master, b"first\r")
        read_until(master, b"got first")
        os.write(master, b"\x10\x11")
        read_until(master, b"which runs on")
        assert process.wait(10) == 0
    assert "Up" in daemon.ok("ps", "-f", "name=shell")

    with terminal(daemon, "attach", "shell") as (master, process):
        os.write(master, b"second\r")
        assert process.wait(10) == 3
    assert _told(daemon, "shell", "attach", "detach", "die") == ["attach", "detach", "attach", "die"]
    daemon.ok("rm", "shell")


@pytest.mark.kernel
def test_an_exec_runs_on_when_one_detaches(daemon: Daemon) -> None:
    daemon.ok("run", "-d", "--name", "busy", "host", "sleep", "infinity")
    with terminal(daemon, "exec", "-it", "busy", "sh", "-c", "echo here; sleep 4712") as (master, process):
        read_until(master, b"here")
        os.write(master, b"\x10\x11")
        read_until(master, b"which runs on")
        assert process.wait(10) == 0

    assert "sleep 4712" in daemon.ok("top", "busy")
    assert _told(daemon, "busy", "exec_start", "exec_detach", "exec_die")[1:] == ["exec_detach"]
    daemon.ok("rm", "-f", "busy")


def _told(daemon: Daemon, name: str, *actions: str) -> list[str]:
    chosen = [word for action in actions for word in ("--filter", f"event={action}")]
    lines = daemon.ok("events", "--since", "10m", "--until", "0s", "--json", "--filter", f"container={name}", *chosen)
    return [json.loads(line)["Action"] for line in lines.splitlines()]


@pytest.mark.kernel
@pytest.mark.parametrize("command", [(NETMODEL,), pytest.param(("docker",), marks=needs_docker)])
def test_pipes_carry_every_byte_both_ways(daemon: Daemon, command: tuple[str, ...]) -> None:
    """Also where both are full: who only sends until all is sent waits for ever."""
    data = os.urandom(3_000_000)
    options = ("run", "--rm", "-i", "--log-driver", "none", "host")

    there_and_back = piped(daemon, data, *command, *options, "cat")
    unread = [piped(daemon, data, *command, *options, "sh", "-c", "echo seen; exit 9") for _ in range(3)]

    assert (there_and_back.returncode, there_and_back.stdout == data) == (0, True)
    assert {(done.returncode, done.stdout, done.stderr) for done in unread} == {(9, b"seen\n", b"")}


@pytest.mark.kernel
def test_a_prompt_without_a_newline_is_seen(daemon: Daemon) -> None:
    process = daemon.popen(NETMODEL, "run", "--rm", "-i", "host", "sh", "-c", "printf 'name? '; read a; echo hi $a")
    assert process.stdout is not None

    assert process.stdout.read(6) == "name? "

    assert process.communicate("you\n", timeout=20)[0] == "hi you\n"


@pytest.mark.kernel
def test_what_was_printed_before_and_what_comes(daemon: Daemon) -> None:
    """attach?logs=1&stream=1: the former out of the log, the latter as it comes, nothing twice."""
    daemon.ok("run", "-di", "--name", "talker", "host", "sh", "-c", "printf 'one\ntw'; read a; printf 'o\nthree\n'")
    eventually(lambda: "one" in daemon.ok("logs", "talker"))

    asked = {"logs": True, "stream": True, "stdout": True, "stderr": True, "stdin": True}
    connection, data = daemon.client.hijack("/containers/talker/attach", **asked)
    with connection:
        connection.sendall(b"go\n")
        while part := connection.recv(4096):
            data += part

    printed = b""
    while data:
        size = int.from_bytes(data[4:8], "big")
        printed, data = printed + data[8 : 8 + size], data[8 + size :]
    assert printed == b"one\ntwo\nthree\n"
    daemon.ok("rm", "talker")


@pytest.mark.kernel
def test_who_attaches_to_what_never_starts_is_let_go(daemon: Daemon) -> None:
    daemon.ok("create", "--name", "never", "host", "true")
    connection, data = daemon.client.hijack("/containers/never/attach", stream=True, stdout=True)
    connection.settimeout(20)

    daemon.ok("rm", "never")

    assert data + connection.recv(100) == b""
    connection.close()


@pytest.mark.kernel
def test_signals_go_to_a_terminal_that_nobody_types_at(daemon: Daemon) -> None:
    script = "trap 'echo got; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    with terminal(daemon, "run", "--rm", "-t", "--name", "shown", "host", "sh", "-c", script) as (master, process):
        read_until(master, b"ready")

        process.send_signal(signal.SIGINT)

        read_until(master, b"got")
        assert process.wait(10) == 3
    eventually(lambda: "shown" not in daemon.ok("ps", "-a"))


def piped(daemon: Daemon, data: bytes, *argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv, input=data, capture_output=True, timeout=60, env=daemon.environment, preexec_fn=daemon.box.setns
    )


@pytest.mark.kernel
def test_start_attached(daemon: Daemon) -> None:
    daemon.ok("create", "--name", "job", "host", "sh", "-c", "echo done; exit 4")

    done = daemon.netmodel("start", "-a", "job")

    assert (done.stdout, done.returncode) == ("done\n", 4)
    assert daemon.netmodel("attach", "job").returncode == 1
    assert "job" in daemon.ok("container", "ls", "-a")
    removed = daemon.ok("container", "prune", "--filter", "label!=keep")
    assert removed
    assert daemon.netmodel("inspect", "job").returncode == 1
