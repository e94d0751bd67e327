"""Run tests on Debian's user-mode-linux: a kernel that is a plain process on the machine's own files.

Like: python -m tests.kernels.uml [PYTEST'S ARGUMENTS]

It has what the development machine lacks (cgroup v2 with its controllers, netem, ipvlan, VLAN, VRF,
dummy) and lacks nftables' inet family and WireGuard. The files are the machine's, seen through
hostfs and written as root, so only /tmp, /run and /dev are the guest's own; what tests leave there
ends with it. Exits as pytest did, or 3 when the kernel did not get that far.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MODULES = "/usr/lib/uml/modules"
# Loaded beforehand: with no /lib/modules the kernel cannot fetch them when they are first used.
WANTED = (
    "overlay", "veth", "bridge", "macvlan", "ipvlan", "8021q", "vrf", "dummy", "vxlan", "ifb",
    "sch_netem", "sch_tbf", "sch_htb",
)  # fmt: skip
# What this kernel has and the development machine has not. It boots in 4 s and then runs at a third of the
# speed, so only tests that gain by it are here.
SUITE = (
    "tests/runtime/test_cgroups.py",
    "tests/runtime/test_rootfs.py",
    "tests/netmodel/test_doctor.py",
    "tests/drivers/test_ipvlan.py",
    "tests/drivers/test_vlan.py",
    # It lacks nftables' inet family, and is slower than the doctor promises to be.
    "-k", "not what_these_tests_need and not quick and not rules_of_others",
)  # fmt: skip
TIMEOUT_S = 300
NOT_RUN = 3
_EXIT = "netmodel-tests-exit:"

# The guest's first process. What is mounted on /tmp hides this very file, which sh keeps open; and the
# repository, should it lie there, so that is put back.
_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir /run/repository
mount --bind {repository} /run/repository
mount -t tmpfs tmpfs /tmp
mkdir -p {repository}
mount --bind /run/repository {repository}
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
export PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
ip link set lo up
cd {repository}
{modules}
{command}
echo {marker} $?
echo o > /proc/sysrq-trigger
sleep 60
"""


def run(arguments: Sequence[str], timeout_s: float = TIMEOUT_S) -> int:
    """Run pytest with these arguments in the guest, its output on ours, and return its exit status."""
    program = shutil.which("linux.uml")
    if program is None:
        print("linux.uml is missing: apt install user-mode-linux", file=sys.stderr)
        return NOT_RUN
    with tempfile.TemporaryDirectory(prefix="netmodel-uml-") as place:
        init = Path(place, "init")
        init.write_text(_script(arguments))
        init.chmod(0o755)
        command = [program, "mem=1024M", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}", "quiet"]
        # TMPDIR: the guest's memory is a file, which must not lie on a disk.
        environment = {**os.environ, "TMPDIR": "/dev/shm"}
        with subprocess.Popen(
            [*command, "con=null", "con0=fd:0,fd:1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # it is several processes; all are ended together
        ) as guest:
            return _follow(guest, timeout_s)


def _script(arguments: Sequence[str]) -> str:
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    modules = [sys.executable, "-m", "tests.kernels.modules"]
    return _INIT.format(
        modules=f'{shlex.join(modules)} "{MODULES}/$(uname -r)" {" ".join(WANTED)}',
        repository=shlex.quote(str(REPOSITORY)),
        command=shlex.join(pytest),
        marker=_EXIT,
    )


def _follow(guest: subprocess.Popen[str], timeout_s: float) -> int:
    status = NOT_RUN
    alarm = signal.signal(signal.SIGALRM, lambda *_: os.killpg(guest.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        assert guest.stdout is not None
        for line in guest.stdout:
            if line.startswith(_EXIT):
                status = int(line.removeprefix(_EXIT))
            else:
                print(line, end="", flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        if guest.poll() is None:
            os.killpg(guest.pid, signal.SIGKILL)
    if status == NOT_RUN:
        print(f"the guest ended without a result, or took more than {timeout_s} s", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:] or ["-q", *SUITE]))
