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

PACKAGES = {
    "dockerd": ("docker.io", "/usr/sbin/dockerd"),
    "runc": ("runc", "/usr/sbin/runc"),
    "podman": ("podman", "/usr/bin/podman"),
    "netavark": ("netavark", "/usr/lib/podman/netavark"),
    "aardvark": ("aardvark-dns", "/usr/lib/podman/aardvark-dns"),
    "mininet": ("mininet", "/usr/bin/mn"),
    "brctl": ("bridge-utils", "/usr/sbin/brctl"),
    "busybox": ("busybox-static", "/bin/busybox"),
}
COMMANDS = ("sh", "sleep", "true", "cat", "ls")

_HELD = ("Pss_Anon:", "Pss_Shmem:")

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
        shutil.rmtree(directory, ignore_errors=True)


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


def memory_mb(pids: list[int]) -> float:
    """Memory that processes hold for themselves; what they share by fork is counted once.

    Not the pages of their programs' files: how much of those a process is charged depends on who else
    on the machine runs the same program.
    """
    total = 0
    for pid in pids:
        with suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(_HELD))
    return total / 1024


def end_all(mark: str, timeout_s: float = 10) -> None:
    """End what a peer left running, by process id, and reap it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = processes(mark)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = monotonic() + timeout_s
        while monotonic() < deadline and (reap() or processes(mark)):
            sleep(0.02)
        if not processes(mark):
            return


def reap() -> bool:
    """Collect children that have ended; whether there was one."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def remove_cgroups(name: str) -> None:
    """Remove a peer's parent group and what is below it from every hierarchy."""
    for root in Path("/sys/fs/cgroup").glob(f"*/{name}"):
        for directory in sorted(root.rglob("*/"), reverse=True):
            with suppress(OSError):
                directory.rmdir()
        with suppress(OSError):
            root.rmdir()
    with suppress(OSError):
        Path("/sys/fs/cgroup", name).rmdir()
