"""A root that turns read-only under a running engine: what is there goes on and can be seen and ended, what must be
written is refused with the reason, nothing declared is lost, and it goes on once the disk can be written again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netmodel.trouble.state import state_of, told, unchanged
from tests.support.daemon import Daemon, running
from tests.support.disk import disk, is_free
from tests.support.tars import directory, docker_archive, layer
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
REFUSED = "error: the file system is read-only: cannot write "
HINT = "hint: dmesg tells why it is; repair it, and make it writable: mount -o remount,rw"


class Sick(Daemon):
    """Its root is a disk that can be given an error, upon which it takes no more writes, of open files neither."""

    device = ""

    def start(self) -> None:
        if not self.root.is_mount():
            self.root.mkdir(exist_ok=True)
            subprocess.run(["mount", "-o", "errors=remount-ro", self.device, self.root], check=True)
        super().start()

    def fail(self) -> None:
        subprocess.run(["sync", "--file-system", self.root], check=True)  # what was said long ago is on the disk
        Path("/sys/fs/ext4", Path(self.device).name, "trigger_fs_error").write_text("x")

    def repair(self) -> None:
        """As disks are: nothing uses it, it is looked over and mounted again."""
        self.stop(signal.SIGKILL)
        self.kill_what_is_left()
        subprocess.run(["umount", "--lazy", self.root], check=True)
        eventually(lambda: is_free(self.device))
        assert subprocess.run(["e2fsck", "-p", "-f", self.device], check=False, capture_output=True).returncode <= 1
        self.start()


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[Sick]:
    with disk(tmp_path, "ext4", "-O", "^has_journal") as found:

        class Here(Sick):
            device = found

        try:
            (tmp_path / "engine").mkdir()
            with running(tmp_path / "engine", Here) as daemon:
                assert isinstance(daemon, Sick)
                yield daemon
        finally:
            subprocess.run(["umount", "--lazy", tmp_path / "engine/root"], check=True)


class Covered(Daemon):
    """Its root can be covered by a read-only look at itself; what is open already is written to all the same."""

    def cover(self) -> None:
        subprocess.run(["mount", "--bind", self.root, self.root], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.root], check=True)

    def uncover(self) -> None:
        subprocess.run(["umount", "--lazy", self.root], check=True)


@pytest.fixture
def covered(tmp_path: Path) -> Iterator[Covered]:
    with running(tmp_path, Covered) as daemon:
        assert isinstance(daemon, Covered)
        yield daemon


def set_up(daemon: Daemon) -> None:
    daemon.ok("network", "create", "lan")
    daemon.ok("network", "create", "empty")
    daemon.ok("volume", "create", "spare")
    daemon.ok(
        "run", "-d", "--name", "there", "-v", "data:/data", "host", "sh", "-c", "while sleep 0.05; do echo on; done"
    )
    for name in ("brief", "other"):
        daemon.ok("run", "-d", "--name", name, "--network", "lan", "host", "sleep", "infinity")
    daemon.ok("create", "--name", "idle", "--network", "lan", "host", "true")


def expect_refusals(daemon: Daemon, *commands: str) -> None:
    for command in commands:
        code, lines = told(daemon.netmodel(*command.split()))
        assert code == (125 if command.startswith("run") else 1), (command, lines)
        assert lines[-2].startswith(REFUSED), (command, lines)
        assert lines[-1] == HINT, (command, lines)


def test_a_disk_with_errors(sick: Sick, tmp_path: Path) -> None:
    set_up(sick)
    archive = tmp_path / "app.tar"
    archive.write_bytes(docker_archive([layer(directory("srv"))], ["lab/app:1"]).getvalue())
    sick.fail()

    with unchanged(sick):
        expect_refusals(
            *(sick, "run -d host true", "create host true", "start idle", "restart -t 0 there", "volume create more"),
            *("network create more", "network rm empty", "network connect lan there", "network disconnect lan brief"),
            *("volume rm spare", "rm idle", "rm -f brief", "rename idle idler", "pause there"),
            *("update --memory 100m there", f"load -i {archive}"),
        )
        assert sick.ok("exec", "there", "echo", "well") == "well"
        assert "Read-only" in sick.netmodel("exec", "there", "touch", "/data/x").stderr
        assert sick.ok("logs", "--tail", "1", "there") == "on"
        assert state(sick, "there")["Running"] is True

    # What has happened is told, though it cannot be written down.
    sick.ok("stop", "-t", "0", "brief")
    sick.ok("kill", "other")
    assert [(state(sick, name)["Status"], state(sick, name)["ExitCode"]) for name in ("brief", "other")] == [
        ("exited", 137),
        ("exited", 137),
    ]
    sick.repair()

    listed = state_of(sick)
    assert [name for name, _ in listed["containers"]] == ["/brief", "/idle", "/other", "/there"]
    assert {"lan", "empty"} <= set(listed["networks"])
    assert listed["volumes"] == ["data", "spare"]
    sick.ok("start", "there", "brief", "idle")
    sick.ok("network", "disconnect", "lan", "brief")


def test_a_disk_that_can_be_written_to_again(covered: Covered) -> None:
    """Without another engine: what was asked for is done now, and what has happened meanwhile is written down."""
    set_up(covered)
    covered.cover()
    try:
        with unchanged(covered):
            expect_refusals(covered, "create host true", "start idle", "volume create more")
            assert covered.ok("exec", "there", "echo", "well") == "well"
            before = len(covered.ok("logs", "there"))
            eventually(lambda: len(covered.ok("logs", "there")) > before)
        covered.ok("kill", "other")
    finally:
        covered.uncover()

    covered.ok("create", "--name", "new", "host", "true")
    covered.ok("start", "idle", "new", "other")
    covered.ok("volume", "create", "more")
    covered.stop(signal.SIGKILL)
    covered.start()
    assert state(covered, "other")["Running"] is True
    covered.ok("volume", "rm", "more", "spare")


def test_an_engine_does_not_start_there_and_does_later(covered: Covered) -> None:
    covered.ok("run", "-d", "--name", "there", "host", "sleep", "infinity")
    covered.ok("create", "--name", "idle", "host", "true")
    assert covered.stop() == 0
    covered.cover()
    try:
        for command in ("ps", "engine start", "engine run"):
            code, [*_, error, hint] = told(covered.netmodel(*command.split()))
            assert (code, error) == (1, f"error: the state root {covered.root} is on a read-only file system"), command
            assert hint == HINT
    finally:
        covered.uncover()
    covered.start()

    assert covered.ok("exec", "there", "echo", "well") == "well"
    covered.ok("start", "idle")


def state(daemon: Daemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = daemon.client.get(f"/containers/{name}/json")["State"]
    return found
