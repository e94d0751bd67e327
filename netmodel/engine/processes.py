"""The processes of a container, as its own people see them: ids of users are the container's."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from netmodel.engine.lifecycle import Lifecycle
from netmodel.errors import Invalid, MissingFeature
from netmodel.model import Container
from netmodel.userns import Line

_TITLES = ("UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Processes:
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def processes(lifecycle: Lifecycle, container: Container, ps_args: str) -> Processes:
    """What `ps -ef` tells of them, or what the host's ps does with other arguments; PIDs are the host's.

    Raises:
        Conflict: It does not run.
        Invalid: ps refuses the arguments.
    """
    pids = lifecycle.runs.of(container).cgroup.processes()
    if ps_args not in ("", "-ef"):
        return _by_ps(ps_args.split(), set(pids))
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    idmap = _uid_map(container.state.pid)
    rows = (_row(pid, idmap, booted_s) for pid in sorted(pids))
    return Processes(_TITLES, tuple(row for row in rows if row))


def _row(pid: int, idmap: Sequence[Line], booted_s: float) -> tuple[str, ...] | None:
    """Source: proc_pid_stat(5); fields count from 3 behind the name, which may hold anything."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        owner = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None  # it has just ended
    fields = rest.split()
    cpu_s = (int(fields[11]) + int(fields[12])) // _TICKS
    started_s = booted_s + int(fields[19]) / _TICKS
    lived_s = max(time.time() - started_s, 1)
    return (
        _user(owner, idmap),
        str(pid),
        fields[1],
        str(min(int(cpu_s * 100 / lived_s), 99)),
        _clock(started_s),
        _terminal(int(fields[4])),
        f"{cpu_s // 3600:02}:{cpu_s % 3600 // 60:02}:{cpu_s % 60:02}",
        command or f"[{name}]",
    )


def _uid_map(pid: int) -> list[Line]:
    """As the kernel tells it to somebody of the host: user_namespaces(7)."""
    try:
        with open(f"/proc/{pid}/uid_map") as file:
            rows = [line.split() for line in file]
    except OSError:
        return []  # it has just ended
    return [(int(first), int(outside), int(count)) for first, outside, count in rows]


def _user(uid: int, idmap: Sequence[Line]) -> str:
    for first, outside, count in idmap:
        if outside <= uid < outside + count:
            uid += first - outside
            break
    return "root" if uid == 0 else str(uid)


def _clock(moment_s: float) -> str:
    moment = datetime.fromtimestamp(moment_s)
    return f"{moment:%H:%M}" if time.time() - moment_s < 86400 else f"{moment:%b%d}"


def _terminal(number: int) -> str:
    return f"pts/{(number & 0xFF) | (number >> 12 & 0xFFF00)}" if number else "?"


def _by_ps(arguments: Sequence[str], pids: set[int]) -> Processes:
    chosen = [*arguments, "-q", ",".join(map(str, sorted(pids)))]
    try:
        done = subprocess.run(["ps", *chosen], capture_output=True, text=True, check=False, timeout=10)
        if done.returncode != 0:  # some of its options choose processes, too, and go with no -q
            done = subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False, timeout=10)
    except FileNotFoundError:
        raise MissingFeature("there is no ps on this machine", "leave its arguments out, or install procps") from None
    lines = done.stdout.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if done.returncode != 0 or "PID" not in titles:
        said = done.stderr.strip().splitlines()[:1]
        raise Invalid(
            f"ps {' '.join(arguments)}: {said[0] if said else 'shows no column PID'}", "add -o pid or the like"
        )
    column = titles.index("PID")
    rows = (tuple(line.split(None, len(titles) - 1)) for line in lines[1:])
    return Processes(titles, tuple(row for row in rows if len(row) > column and row[column] in set(map(str, pids))))
