"""The place where peers are measured: private namespaces, a private directory, a tiny image.

Everything that is started lives in a network and a mount namespace of the bench's own, so that the
machine's links, rules and mounts are untouched and vanish with it. What daemonizes itself is
inherited by the bench (subreaper) and ended by its process id.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PR_SET_CHILD_SUBREAPER = 36
_MNT_DETACH = 2

PACKAGES = {
    "dockerd": ("docker.io", "/usr/sbin/dockerd"),
    "runc": ("runc", "/usr/sbin/runc"),
    "podman": ("podman", "/usr/bin/podman"),
    "netavark": ("netavark", "/usr/lib/podman/netavark"),
    "aardvark": ("aardvark-dns", "/usr/lib/podman/aardvark-dns"),
    "mininet": ("mininet", "/usr/bin/mn"),
    "brctl": ("bridge-utils", "/usr/sbin/brctl"),
    "registry": ("docker-registry", "/usr/bin/docker-registry"),
    "busybox": ("busybox-static", "/bin/busybox"),
}
COMMANDS = ("sh", "sleep", "true", "cat", "ls")

_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """A peer cannot be measured on this machine; says why."""


def install(names: list[str]) -> None:
    """Install the Debian packages of peers that are missing; what cannot be installed is reported as missing later."""
    missing = [package for package, program in map(PACKAGES.__getitem__, names) if not Path(program).exists()]
    if not missing or not shutil.which("apt-get"):
        return
    print(f"installing {', '.join(missing)}", file=sys.stderr)
    # Without recommends: no Open vSwitch, no AppArmor.
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _services_stay_down():
        for command in (install, ["apt-get", "update", "-qq"], install):
            done = subprocess.run(command, env=environment, capture_output=True, check=False)
            if command is install and done.returncode == 0:
                return


@contextmanager
def _services_stay_down() -> Iterator[None]:
    """A package's own service is not ours to start (Debian policy 9.11.3: policy-rc.d)."""
    guard = Path("/usr/sbin/policy-rc.d")
    made = not guard.exists()
    if made:
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    try:
        yield
    finally:
        if made:
            guard.unlink()


def need(name: str) -> str:
    """The path of a peer's program.

    Raises:
        Unavailable: It is not installed.
    """
    package, program = PACKAGES[name]
    if not Path(program).exists():
        raise Unavailable(f"not installed (apt-get install {package})")
    return program


def go_private() -> None:
    """Leave the machine's network and mounts; for a process with one thread."""
    _check(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Of this namespace alone; dockerd sets it anyway, so nobody has an advantage.
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _check(result: int) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


@contextmanager
def workshop() -> Iterator[Path]:
    """A directory with the image's tree (image/) and tar (image.tar) in it, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="nmb", dir="/var/tmp"))
    try:
        directory.chmod(0o755)
        _make_image(directory / "image")
        yield directory
    finally:
        _unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _unmount_below(directory: Path) -> None:
    """What a peer that was killed has left mounted; in our own mount namespace, as it lived there."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith(f"{directory}/"):
            _libc.umount2(os.fsencode(mount), _MNT_DETACH)


def _make_image(tree: Path) -> None:
    """A static busybox and nothing else: the same bytes for everybody."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (tree / name).mkdir(parents=True)
    shutil.copy(need("busybox"), tree / "bin/busybox")
    for command in COMMANDS:
        (tree / "bin" / command).symlink_to("busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    subprocess.run(["tar", "-C", tree, "-cf", f"{tree}.tar", "."], check=True)


def until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait for what a peer gives no event for, its start."""
    deadline = monotonic() + timeout_s
    while not condition():
        if monotonic() > deadline:
            raise Unavailable(f"{what} in {timeout_s:g} s")
        sleep(0.02)


def processes(mark: str) -> list[int]:
    """Every process that has this text in its command line, ourselves excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def runs(pid: int, module: str) -> bool:
    with suppress(OSError):
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def pss_mb(pids: list[int]) -> float:
    """Memory of processes, their programs' files included; each page as the share of those that have it."""
    return _rollup_mb(pids, ("Pss:",))


def memory_mb(pids: list[int]) -> float:
    """Memory that processes hold for themselves; what they share by fork is counted once.

    Not the pages of their programs' files: how much of those a process is charged depends on who else
    on the machine runs the same program.
    """
    return _rollup_mb(pids, ("Pss_Anon:", "Pss_Shmem:"))


def _rollup_mb(pids: list[int], fields: tuple[str, ...]) -> float:
    total = 0
    for pid in pids:
        with suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(fields))
    return total / 1024


def end_all(mark: str, *signals: signal.Signals, timeout_s: float = 10) -> None:
    """End what a peer left running, by process id, and reap it.

    Args:
        signals: Tried in turn; SIGTERM, then SIGKILL, without.
    """
    for number in signals or (signal.SIGTERM, signal.SIGKILL):
        _kill(processes(mark), number)
        deadline = monotonic() + timeout_s
        while monotonic() < deadline and (reap() or processes(mark)):
            sleep(0.02)
        if not processes(mark):
            return


def _kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def reap() -> bool:
    """Collect children that have ended; whether there was one."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def remove_cgroups(name: str, timeout_s: float = 10) -> None:
    """Remove a peer's parent group and what is below it from every hierarchy; what runs in there is killed."""
    deadline = monotonic() + timeout_s
    while (groups := _groups(name)) and monotonic() < deadline:
        for group in reversed(groups):
            with suppress(OSError):
                _kill([int(pid) for pid in (group / "cgroup.procs").read_text().split()], signal.SIGKILL)
                group.rmdir()
        reap()
        sleep(0.01)


def _groups(name: str) -> list[Path]:
    """In every hierarchy the group, then what is below it; os.walk() forgives what vanishes meanwhile."""
    hierarchies = Path("/sys/fs/cgroup")
    tops = (hierarchies / name, *hierarchies.glob(f"*/{name}"))
    return [Path(at) for top in tops for at, _, _ in os.walk(top)]
