"""An engine as users have it: a process of its own in a box of its own, driven by the command line and by docker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netmodel.client import Client
from netmodel.daemon.listener import listening_pid
from tests.support.box import Box
from tests.support.wait import eventually
from tests.support.zygote import Forked, command

NETMODEL = str(Path(sys.executable).with_name("netmodel"))
Done = subprocess.CompletedProcess[str]


class Daemon:
    """`netmodel engine run` on a root of its own, out of a fork server; its host is the box."""

    def __init__(self, box: Box, directory: Path) -> None:
        self.box = box
        self.root = directory / "root"
        self.host = directory / "e.sock"
        self.environment = {
            **os.environ,
            "NETMODEL_ROOT": str(self.root),
            "NETMODEL_HOST": str(self.host),
            "DOCKER_HOST": f"unix://{self.host}",
            "DOCKER_CONFIG": str(directory / "docker"),
        }
        self.process: subprocess.Popen[str] | Forked | None = None

    @property
    def client(self) -> Client:
        return Client(str(self.host), str(self.root), start=False)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self.process = Forked(self.box, self.environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready"), self.process.communicate()[1]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """End the engine; containers run on. Returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signum)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def run(self, *argv: str, text: str | None = None) -> Done:
        """Run a program in the box, with this engine as the one that is meant."""
        with self.box.entered():
            return subprocess.run(
                argv,
                input=text,
                stdin=None if text is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                env=self.environment,
                cwd="/",
            )

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        with self.box.entered():
            return subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self.environment,
                cwd="/",
            )

    def netmodel(self, *argv: str, text: str | None = None) -> Done:
        return command(self.box, self.environment, *argv) if text is None else self.run(NETMODEL, *argv, text=text)

    def ok(self, *argv: str, text: str | None = None) -> str:
        """What a netmodel command prints; it must succeed."""
        done = self.netmodel(*argv, text=text)
        assert done.returncode == 0, f"netmodel {' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def clean_up(self) -> None:
        """Remove everything, end the engine, and see the spawner go."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        spawner = self.client.get("/netmodel/status")["spawner_pid"]
        for container in self.client.get("/containers/json", all=True):
            self.client.delete(f"/containers/{container['Id']}", force=True, v=True)
        assert self.stop() == 0
        eventually(lambda: not Path(f"/proc/{spawner}").exists(), what="the spawner's end")

    def kill_what_is_left(self) -> None:
        """End what a failed clean-up left, also an engine that a command started; containers die with the spawner."""
        engine = listening_pid(self.host)
        for pid in [*([engine] if engine else []), *self.spawners()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def spawners(self) -> list[int]:
        """The spawner of this root, and its forker."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if entry.name.isdigit() and os.fsencode(self.root / "spawner") in arguments:
                    found.append(int(entry.name))
        return found


@contextmanager
def running(directory: Path, kind: type[Daemon] = Daemon) -> Iterator[Daemon]:
    """An engine that is gone afterwards with all that it had, whatever happened inside."""
    box = Box("host")
    daemon = kind(box, directory)
    try:
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.clean_up()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.communicate()
        daemon.kill_what_is_left()
        box.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One engine for all tests of a module; each uses names of its own."""
    with running(tmp_path_factory.mktemp("d")) as started:
        yield started


needs_docker = pytest.mark.skipif(shutil.which("docker") is None, reason="missing: the docker command line")
needs_compose = pytest.mark.skipif(shutil.which("docker-compose") is None, reason="missing: docker-compose")
