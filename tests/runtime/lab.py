"""A spawner of a test's own, and containers out of the machine's root file system."""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.client import ContainerStatus, Exited, Spawner
from runtime.defaults import DEFAULT_CAPABILITIES, DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS
from runtime.errors import RuntimeFault
from runtime.spec import ContainerSpec, IdMap, Process, RootFs
from tests.support.wait import eventually

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ranges = itertools.count(2_000_000 + 65536 * (os.getpid() % 10_000), 65536)


def process(*argv: str, **fields: Any) -> Process:
    """A process as Docker would make it."""
    fields.setdefault("environment", (("PATH", PATH),))
    fields.setdefault("capabilities", DEFAULT_CAPABILITIES)
    return Process(argv=argv, **fields)


def shell(script: str, **fields: Any) -> Process:
    return process("/bin/sh", "-ec", script, **fields)


class Lab:
    """Makes specs, runs them, reads what they printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.spawner = Spawner.connect(directory / "spawner")

    def spec(self, first: Process, **fields: Any) -> ContainerSpec:
        """A container of the machine's own root, with whatever fields differ."""
        identity = secrets.token_hex(32)
        place = self.directory / identity[:12]
        for name in ("upper", "work"):
            (place / name).mkdir(parents=True)
        fields.setdefault("rootfs", RootFs(layers=("/",), upper=f"{place}/upper", work=f"{place}/work"))
        fields.setdefault("sandbox", identity)
        fields.setdefault("idmap", IdMap(base=next(_ranges)))
        fields.setdefault("hostname", "box")
        fields.setdefault("masked_paths", DEFAULT_MASKED_PATHS)
        fields.setdefault("readonly_paths", DEFAULT_READONLY_PATHS)
        return ContainerSpec(id=identity, process=first, log=f"{place}/log", **fields)

    def start(self, first: Process, **fields: Any) -> ContainerSpec:
        """Create and start a container."""
        spec = self.spec(first, **fields)
        self.spawner.create(spec)
        self.spawner.start(spec.id)
        return spec

    def sleeper(self, **fields: Any) -> ContainerSpec:
        """A container that runs until it is killed."""
        return self.start(process("sleep", "infinity"), **fields)

    def run(self, script: str, **fields: Any) -> str:
        """Run a script in a container to its good end, and return what it printed."""
        spec = self.start(shell(script), **fields)
        status = self.ended(spec)
        assert status.exit_code == 0, self.output(spec)
        return self.output(spec)

    def fails(self, first: Process, **fields: Any) -> RuntimeFault:
        """Create and start a container that cannot be, and return why."""
        try:
            self.start(first, **fields)
        except RuntimeFault as fault:
            return fault
        raise AssertionError("it started")

    def warm_up(self) -> None:
        """Let a first container come and go, so that what the spawner keeps for all of them is there."""
        before, heard = self.children(), list[Exited]()
        self.spawner.on_exit = heard.append
        spec = self.start(process("true"))
        eventually(lambda: heard, what="the end of the first container")
        self.spawner.on_exit = None
        self.spawner.forget(spec.id)
        self.spawner.unpin(spec.sandbox)
        eventually(lambda: self.children() == before, what="its process")

    def status(self, spec: ContainerSpec) -> ContainerStatus:
        return next(status for status in self.spawner.status() if status.id == spec.id)

    def ended(self, spec: ContainerSpec) -> ContainerStatus:
        eventually(lambda: self.status(spec).state == "exited", what="container")
        return self.status(spec)

    def entries(self, spec: ContainerSpec) -> list[dict[str, str]]:
        return [json.loads(line) for line in Path(spec.log).read_text().splitlines()]

    def output(self, spec: ContainerSpec) -> str:
        return "".join(entry["log"] for entry in self.entries(spec))

    def exec(self, spec: ContainerSpec, script: str, **fields: Any) -> tuple[int, str, str]:
        """Run a script beside it: exit code, stdout, stderr."""
        with self.spawner.exec(spec.id, shell(script, **fields)) as handle:
            handle.close_stdin()
            assert handle.stdout is not None
            assert handle.stderr is not None
            printed, complained = read_all(handle.stdout), read_all(handle.stderr)
            return handle.wait(10), printed, complained

    def descriptors(self) -> list[str]:
        """What the spawner holds open."""
        directory = Path(f"/proc/{self.spawner.pid}/fd")
        found = []
        for entry in directory.iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(entry).partition(":")[0])
        return sorted(found)

    def children(self) -> list[int]:
        return children(self.spawner.pid)

    def clear(self) -> None:
        """End all containers, and have nothing of them kept."""
        self.spawner.on_exit = None
        for status in self.spawner.status():
            with suppress(RuntimeFault):  # it ended meanwhile
                self.spawner.signal(status.id, signal.SIGKILL)
        eventually(lambda: all(status.state == "exited" for status in self.spawner.status()), what="containers' end")
        for status in self.spawner.status():
            self.spawner.forget(status.id)
        for name in self.spawner.pins():
            self.spawner.unpin(name)

    def close(self) -> None:
        pid = self.spawner.pid
        self.spawner.close()
        end(pid)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def end(pid: int) -> None:
    """End a spawner, and with it its containers, and wait until all are gone."""
    family = [pid, *children(pid)]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{member}/ns").exists() and _alive(member) for member in family))


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def read_all(fd: int) -> str:
    data = b""
    while True:
        try:
            block = os.read(fd, 65536)
        except OSError:  # a terminal whose last process is gone
            block = b""
        if not block:
            return data.decode()
        data += block


@contextmanager
def lab_in(directory: Path) -> Iterator[Lab]:
    lab = Lab(directory)
    try:
        yield lab
    finally:
        lab.close()
