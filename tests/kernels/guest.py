"""A kernel of its own for some tests: it boots from a disk, runs pytest, and tells its exit status.

What it is told to run comes on a second disk, so that one first disk serves every guest.
"""

from __future__ import annotations

import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.image import REPOSITORY

NOT_RUN = 3
_EXIT = "netmodel-tests-exit:"

# The guest's first program: what is usual on a machine, with cgroup v2 alone. The second disk is a script.
INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
ulimit -n 65536
modprobe -q br_netfilter
modprobe -q loop
for disk in /dev/ubdb /dev/vdb; do
    test -b $disk && sh $disk
done
echo o > /proc/sysrq-trigger
sleep 60
"""
_SCRIPT = """
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
export NETMODEL_REQUIRE_KERNEL=1 NETMODEL_KERNEL={kernel}
cd {repository}
{command}
echo {marker} $?
"""
_BLOCK = 4096


@dataclass(frozen=True)
class Guest:
    """Attributes:
    kernel: What the tests' marker not_on calls it.
    title: What a person calls it.
    command: Starts it, with its console on standard input and output.
    timeout_s: Of boot and tests together.
    """

    kernel: str
    title: str
    command: Sequence[str]
    timeout_s: float
    environment: Mapping[str, str] = field(default_factory=dict)


class Run:
    """A guest at work in the background."""

    def __init__(self, guest: Guest) -> None:
        self.status = NOT_RUN
        self._guest = guest
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            guest.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **guest.environment},
            start_new_session=True,  # it may be several processes; all are ended together
        )
        threading.Thread(target=self._follow, daemon=True).start()

    def lines(self) -> Iterator[str]:
        """What it prints, to its end; afterwards the exit status is known."""
        return iter(self._lines.get, None)

    def end(self) -> None:
        """End it, whatever it is doing."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _follow(self) -> None:
        deadline = threading.Timer(self._guest.timeout_s, self.end)
        deadline.start()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_EXIT):
                self.status = int(line.removeprefix(_EXIT))
            else:
                self._lines.put(line.rstrip("\r\n"))
        deadline.cancel()
        self.end()
        self._process.wait()
        if self.status == NOT_RUN:
            self._lines.put(f"the guest ended without a result, or took more than {self._guest.timeout_s} s")
        self._lines.put(None)


def emulator(program: str, package: str) -> str:
    """The path of what a guest runs in.

    Raises:
        FileNotFoundError: With the package to install.
    """
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is missing: apt install {package}")
    return path


def write_script(path: Path, kernel: str, arguments: Sequence[str]) -> None:
    """Write the second disk: run pytest with these arguments."""
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]
    script = _SCRIPT.format(
        kernel=kernel, repository=shlex.quote(str(REPOSITORY)), command=shlex.join(pytest), marker=_EXIT
    )
    # A disk is whole blocks; a shell reads on over empty lines.
    path.write_text(script + "\n" * (-len(script) % _BLOCK))
