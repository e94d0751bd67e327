"""A full disk: what is new is refused, what is there can be seen, ended and removed, and nothing is left half made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netmodel.trouble.state import state_of, told, unchanged
from tests.support.box import Box
from tests.support.daemon import NETMODEL, Daemon, running
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel

LAB = """
services:
  one: {image: host, command: sleep infinity}
  two: {image: host, command: sleep infinity, ports: ["8097:80"], volumes: ["data:/data"]}
volumes: {data: {}}
"""


class Cramped(Daemon):
    """An engine whose root is a small tmpfs in a mount namespace of its own: none is left on the machine."""

    def start(self) -> None:
        self.root.mkdir()
        mount = f"mount -t tmpfs -o size=4m none {shlex.quote(str(self.root))}"
        self.process = self.popen("unshare", "--mount", "sh", "-c", f"{mount} && exec {NETMODEL} engine run")
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready"), self.process.communicate()[1]

    @property
    def filler(self) -> Path:
        return Path(f"/proc/{self.pid}/root{self.root}/filler")

    def fill(self) -> None:
        """Take every byte there is."""
        with self.filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.strerror == "No space left on device"  # noqa: PT017


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[Cramped]:
    with running(tmp_path, Cramped) as daemon:
        assert isinstance(daemon, Cramped)
        yield daemon


def test_nothing_new_and_nothing_half_made(cramped: Cramped, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(LAB)
    cramped.ok("run", "-d", "--name", "there", "host", "sleep", "infinity")
    cramped.ok("create", "--name", "idle", "host", "true")
    with unchanged(cramped):
        for command in (
            "run -d host sleep infinity",
            "create host true",
            "network create lan",
            "volume create data",
            "start idle",
            f"up {file}",
        ):
            cramped.fill()
            code, lines = told(cramped.netmodel(*command.split()))

            assert code == (125 if command.startswith("run") else 1), command
            assert lines[-2].startswith("error: the disk is full: cannot write "), command
            assert lines[-1].startswith("hint: make room on the file system of "), command
        assert cramped.ok("exec", "there", "echo", "well") == "well"
        cramped.filler.unlink()

    cramped.ok("up", str(file))
    cramped.ok("run", "--rm", "host", "true")


def test_what_is_there_can_go(cramped: Cramped, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(LAB)
    before = {kind: value for kind, value in state_of(cramped).items() if kind != "rules"}
    cramped.ok("network", "create", "lan")
    cramped.ok("run", "-d", "--name", "there", "--network", "lan", "-p", "8096:80", "host", "sleep", "infinity")
    cramped.ok("run", "-d", "--name", "short", "--network", "lan", "host", "sleep", "infinity")
    cramped.ok("up", str(file))
    cramped.fill()

    cramped.ok("stop", "-t", "0", "short")
    cramped.ok("rm", "short")
    cramped.fill()
    cramped.ok("rm", "-f", "there")
    cramped.fill()
    cramped.ok("network", "rm", "lan")
    cramped.fill()
    cramped.ok("down", "-v", str(file))

    cramped.filler.unlink()
    eventually(lambda: {kind: value for kind, value in state_of(cramped).items() if kind != "rules"} == before)


def test_a_container_that_ends_meanwhile(cramped: Cramped) -> None:
    """Its exit is noted, and the disk full of its own output is no reason to stop it."""
    script = "head -c 9000000 /dev/zero | tr '\\0' x | fold; sleep infinity"
    cramped.ok("run", "-d", "--name", "brief", "host", "sleep", "infinity")
    cramped.ok("run", "-d", "--name", "loud", "host", "sh", "-c", script)
    eventually(lambda: cramped.netmodel("network", "create", "lan").returncode == 1, what="a full disk")

    assert cramped.ok("exec", "loud", "echo", "well") == "well"
    cramped.ok("exec", "brief", "sh", "-c", "kill -TERM 1 || true")
    cramped.ok("kill", "brief")

    assert cramped.ok("wait", "brief") == "137"
    assert "Up" in cramped.ok("ps", "--filter", "name=loud")
    cramped.ok("rm", "-f", "loud", "brief")
    cramped.ok("run", "--rm", "host", "true")


def test_an_engine_does_not_start_on_a_full_disk(tmp_path: Path) -> None:
    box = Box("host")
    daemon = Daemon(box, tmp_path)
    daemon.root.mkdir()
    try:
        mount = f"mount -t tmpfs -o size=64k none {shlex.quote(str(daemon.root))}"
        fill = f"head -c 1000000 /dev/zero > {daemon.root}/filler 2>/dev/null"
        done = daemon.run("unshare", "--mount", "sh", "-c", f"{mount} && {fill}; exec {NETMODEL} engine run")
    finally:
        box.close()

    code, [*_, error, hint] = told(done)
    assert code == 1
    assert error.startswith("error: ")
    assert "full" in error or "No space left" in error
    assert hint.startswith("hint: make room on ")
    assert not daemon.host.exists()
