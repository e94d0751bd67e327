"""All that an engine has in the kernel, on disk and in its records: two looks at it tell whether anything changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nftables

from tests.support.daemon import Daemon, Done
from tests.support.wait import eventually

_HANDLE = re.compile(r" # handle \d+")


def state_of(daemon: Daemon) -> dict[str, Any]:
    """Links, rules, control groups, mounts, directories, processes; containers, networks, volumes as listed."""
    client = daemon.client
    status = client.get("/netmodel/status")
    return {
        **kernel_state_of(daemon),
        "sandboxes": _namespaces(status["spawner_pid"]),
        "containers": sorted((one["Names"][0], one["State"]) for one in client.get("/containers/json", all=True)),
        "networks": sorted(one["Name"] for one in client.get("/networks")),
        "volumes": sorted(one["Name"] for one in client.get("/volumes")["Volumes"] or ()),
        "projects": client.get("/netmodel/projects"),
    }


def kernel_state_of(daemon: Daemon) -> dict[str, Any]:
    """As much of it as can be seen without asking the engine."""
    root_id = hashlib.sha256(str(daemon.root.resolve()).encode()).hexdigest()[:8]
    return {
        "links": sorted(line.split(":")[1].strip() for line in daemon.box.run("ip", "-o", "link").stdout.splitlines()),
        "rules": _ruleset(daemon),
        "control groups": sorted(
            str(path)
            for pattern in (f"netmodel_{root_id}/*/", f"*/netmodel_{root_id}/*/")
            for path in Path("/sys/fs/cgroup").glob(pattern)
        ),
        "mounts": [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {daemon.root}/" in line
        ],
        "directories": sorted(
            str(path) for part in ("containers", "layers") for path in (daemon.root / part).glob("[!.]*")
        ),
    }


def _ruleset(daemon: Daemon) -> str:
    def listed() -> str:
        code, output, error = nftables.Nftables().cmd("list ruleset")
        assert code == 0, error
        return _HANDLE.sub("", output)

    return daemon.box.open(listed)


def _namespaces(spawner: int) -> int:
    """How many network namespaces the spawner holds."""
    descriptors = (str(entry.readlink()) for entry in Path(f"/proc/{spawner}/fd").iterdir())
    return len({target for target in descriptors if target.startswith("net:")})


@contextmanager
def unchanged(daemon: Daemon) -> Iterator[None]:
    """What happens inside leaves everything as it was."""
    before = state_of(daemon)
    yield
    expect_state(daemon, before)


def expect_state(daemon: Daemon, before: dict[str, Any]) -> None:
    """Compare with an earlier look; links may take a moment to go."""
    now: dict[str, Any] = {}

    def same() -> bool:
        now.update(state_of(daemon))
        return now == before

    try:
        eventually(same, timeout_s=5)
    except AssertionError:
        for kind in before:
            assert now[kind] == before[kind], f"{kind} changed"


def told(done: Done) -> tuple[int, list[str]]:
    """The exit code and what was said; nobody ever sees a traceback, and a failure prints no result."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == "", done.stdout
    return done.returncode, done.stderr.splitlines()
