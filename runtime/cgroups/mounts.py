"""Where the hierarchies of control groups are mounted, as /proc/self/mountinfo tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "freezer", "devices", "blkio", "cpuset", "hugetlb")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Args:
    v1: Mount point of each controller; one mounted together with another ("cpu,cpuacct") shares it.
    v2: Mount point of cgroup2, with whatever controllers v1 left it.
    """

    v1: Mapping[str, str]
    v2: str | None


def parse(mountinfo: str) -> Hierarchies:
    """Read the text of mountinfo. Where something is mounted twice, the later mount counts.

    Source: man 5 proc_pid_mountinfo: "36 35 98:0 /root /point options [tag...] - type source super-options".
    """
    v1: dict[str, str] = {}
    v2: str | None = None
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        filesystem, _, super_options = kind.split(" ", 2)
        point = mount.split(" ")[4].encode().decode("unicode_escape")
        if filesystem == "cgroup2":
            v2 = point
        elif filesystem == "cgroup":
            v1.update(dict.fromkeys(set(super_options.split(",")) & set(V1_CONTROLLERS), point))
    return Hierarchies(v1, v2)


def find() -> Hierarchies:
    return parse(Path("/proc/self/mountinfo").read_text())
