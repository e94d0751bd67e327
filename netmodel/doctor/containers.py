"""Namespaces, root file systems and control groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from netmodel.doctor.finding import Finding, tried
from runtime.cgroups import Cgroups, NoCgroups
from runtime.cgroups.api import Feature

_NAMESPACE_COST = "containers cannot be isolated in it: the kernel lacks it, or it is forbidden here"
_USERNS_COST = (
    "containers are refused unless they accept the host's root (userns_mode: host): "
    "sysctl -w user.max_user_namespaces=15000"
)
_COSTS = {"user": _USERNS_COST, "time": "containers have the machine's own offsets of its clocks"}
_STORAGE = (
    ("overlay", True, "no container can have a root: put the state root on ext4, xfs or btrfs"),
    ("overlay over the root", False, "the image `host` does not work: use a directory or an archive"),
    ("mapped ids", False, "files of images and volumes look like nobody's in containers: use ext4, xfs or btrfs"),
    ("mapped ids of the root", False, "in the image `host`, files look like nobody's"),
    ("mapped ids of tmpfs", False, "binds from a tmpfs show the host's owners"),
    ("overlay over mapped ids", False, "containers with a user namespace cannot own their root directory's files"),
    ("tmpfs", True, "/dev, /tmp and /run of containers cannot be made"),
)


def namespaces_and_storage(directory: Path) -> Iterator[Finding]:
    """What runtime.probe found in a process of its own, which may unshare as a process with threads may not."""
    process = subprocess.run(
        [sys.executable, "-m", "runtime.probe", str(directory)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if process.returncode:
        why = (process.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield Finding(area="namespaces", feature="all", ok=False, detail=why, cost=_NAMESPACE_COST, needed=True)
        return
    results: dict[str, str] = json.loads(process.stdout)
    for feature, why in results.items():
        if feature.startswith("namespace "):
            kind = feature.removeprefix("namespace ")
            cost = _COSTS.get(kind, _NAMESPACE_COST)
            yield tried("namespaces", kind, why, cost, needed=kind not in _COSTS)
    for feature, needed, cost in _STORAGE:
        why = results.get(feature, results.get("storage", "not tried"))
        yield tried("storage", feature, why, cost, needed)


_CGROUP_FEATURES: tuple[tuple[Feature, str], ...] = (
    ("memory", "mem_limit is refused and memory is not counted"),
    ("swap", "memswap_limit is refused: boot with swapaccount=1"),
    ("cpu", "cpus and cpu_shares are refused"),
    ("pids", "pids_limit is refused"),
    ("freeze", "pause does not work"),
    ("devices", "containers without a user namespace are kept from device nodes by capabilities alone"),
    ("cpuset", "cpuset is refused"),
    ("realtime", "cpu_rt_runtime is refused: it needs CONFIG_RT_GROUP_SCHED on cgroup v1"),
    ("swappiness", "mem_swappiness is refused"),
    ("oom_disable", "oom_kill_disable is refused"),
    ("io", "stats count no disk traffic, and limits of block I/O are refused"),
    ("io_weight", "weights of block I/O are refused: they need the scheduler bfq, or io.cost on cgroup v2"),
    ("hugetlb", "huge pages cannot be limited"),
    ("pressure", "stats tell no pressure"),
)


def cgroups() -> Iterator[Finding]:
    """Which limits can be given."""
    try:
        groups = Cgroups.detect("netmodel_doctor")
    except NoCgroups as error:
        yield Finding(area="cgroups", feature="mounted", ok=False, detail=str(error), cost=error.hint, needed=True)
        return
    yield Finding(area="cgroups", feature="version", ok=True, detail=f"cgroup {groups.version}")
    for feature, cost in _CGROUP_FEATURES:
        there = groups.supports(feature)
        detail = "can be used" if there else f"cgroup {groups.version} does not offer it here"
        yield Finding(area="cgroups", feature=feature, ok=there, detail=detail, cost="" if there else cost)
