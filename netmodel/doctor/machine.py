"""Who we are, what was taken from root, and numbers that end before the memory does."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from netmodel.doctor.finding import Finding, number

# Number of each capability that the engine uses, and what goes wrong without it.
# Source: Linux include/uapi/linux/capability.h.
_CAPABILITIES = (
    ("CAP_SYS_ADMIN", 21, True, "no namespace and no mount can be made"),
    ("CAP_NET_ADMIN", 12, True, "no link, address or rule can be made"),
    ("CAP_NET_RAW", 13, False, "check and matrix cannot send their packets, and addresses are not announced"),
    ("CAP_SYS_CHROOT", 18, True, "no container can get a root of its own"),
    ("CAP_SETUID", 7, True, "no container can run as its own user"),
    ("CAP_SETGID", 6, True, "no container can run as its own group"),
    ("CAP_CHOWN", 0, True, "archives cannot be unpacked with their owners"),
    ("CAP_DAC_OVERRIDE", 1, True, "files of other users are out of reach"),
    ("CAP_FOWNER", 3, True, "archives cannot be unpacked with their modes"),
    ("CAP_KILL", 5, True, "containers cannot be stopped"),
    ("CAP_SYS_PTRACE", 19, False, "the process that holds a port in use cannot be named"),
    ("CAP_MKNOD", 27, False, "containers without a user namespace cannot make device nodes"),
    (
        "CAP_SYS_RESOURCE",
        24,
        False,
        "ulimits cannot be raised above the engine's own: start the engine with higher ones",
    ),
)
_DESCRIPTORS_EACH = 10  # sockets, namespaces, logs: what the engine and the spawner hold for one container
_NEIGHBOURS = "/proc/sys/net/ipv4/neigh/default/gc_thresh3"


def rights() -> Iterator[Finding]:
    """Who we are, and which of root's powers were taken from us."""
    uid = os.geteuid()
    yield Finding(
        area="rights",
        feature="root",
        ok=uid == 0,
        detail="running as root" if uid == 0 else f"running as user {uid}",
        cost="" if uid == 0 else "the engine makes namespaces, links and mounts for others: run it as root (sudo)",
        needed=True,
    )
    held = int(_field("/proc/self/status", "CapEff"), 16)
    missing = [row for row in _CAPABILITIES if not held >> row[1] & 1]
    for name, _, needed, cost in missing:
        yield Finding(area="rights", feature=name, ok=False, detail="not held", cost=cost, needed=needed)
    if not missing:
        yield Finding(area="rights", feature="capabilities", ok=True, detail="all that the engine uses are held")


def limits() -> Iterator[Finding]:
    """Numbers that end before the memory does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = hard // _DESCRIPTORS_EACH
    yield Finding(
        area="limits",
        feature="open files",
        ok=room >= 1000,
        detail=f"{hard} for one process: enough for about {room} containers",
        cost="" if room >= 1000 else "more containers than that cannot run: raise it (ulimit -Hn, LimitNOFILE=)",
    )
    for kind in ("user", "net", "pid", "mnt"):
        most = number(f"/proc/sys/user/max_{kind}_namespaces")
        if most is not None and most < 1000:
            cost = f"more {kind} namespaces cannot exist at once: sysctl -w user.max_{kind}_namespaces=15000"
            yield Finding(area="limits", feature=f"{kind} namespaces", ok=False, detail=f"at most {most}", cost=cost)
    neighbours = number(_NEIGHBOURS)
    if neighbours is not None:
        plenty = neighbours >= 4096
        cost = "with about as many containers, neighbours are forgotten and packets lost: sysctl -w "
        cost += "net.ipv4.neigh.default.gc_thresh3=65536"
        yield Finding(
            area="limits",
            feature="neighbour table",
            ok=plenty,
            detail=f"{neighbours} entries for all namespaces together",
            cost="" if plenty else cost,
        )
    seccomp = os.path.exists("/proc/sys/kernel/seccomp/actions_avail")
    cost = "" if seccomp else "system calls of containers cannot be filtered; namespaces and capabilities still hold"
    detail = "the kernel filters system calls" if seccomp else "the kernel has none"
    yield Finding(area="limits", feature="seccomp", ok=seccomp, detail=detail, cost=cost)


def disk(directory: Path) -> Iterator[Finding]:
    """Room for layers, volumes and logs."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    enough = free >= 1 << 30 and (not found.f_files or found.f_favail >= 10_000)
    yield Finding(
        area="storage",
        feature="free space",
        ok=enough,
        detail=f"{free / (1 << 30):.1f} GiB and {found.f_favail} files at {directory}",
        cost="" if enough else "containers soon fail to write: make room, or choose another --root",
    )


def _field(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(f"{key}:"):
            return line.partition(":")[2].strip()
    return "0"
