"""Debian's user-mode-linux: a kernel that is a plain process, up in seconds, at a third of the speed.

It has what the development machine lacks (cgroup v2 with its controllers, netem, ipvlan, VLAN, VRF,
dummy) and lacks nftables' inet family and WireGuard.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.kernels.guest import Guest, emulator, write_script

KERNEL = "uml"
MODULES = Path("/usr/lib/uml/modules")
# The whole runtime, and what else gains by what this kernel has.
SUITE = (
    "-q",
    "tests/runtime",
    "tests/netmodel/test_doctor.py",
    "tests/drivers/test_ipvlan.py",
    "tests/drivers/test_vlan.py",
)
_TIMEOUT_S = 1500


def prepare(disk: Path, place: Path, arguments: Sequence[str]) -> Guest:
    """A guest that runs these tests, and keeps what it writes in place."""
    program = emulator("linux.uml", "user-mode-linux")
    script = place / "uml-script"
    write_script(script, KERNEL, arguments)
    return Guest(
        kernel=KERNEL,
        title="Debian's user-mode-linux",
        command=[
            program, "mem=1024M", f"ubda={place / 'uml-written'},{disk}", f"ubdbr={script}", "root=/dev/ubda",
            "rootfstype=ext4", "rw", "init=/init", "security=apparmor", "apparmor=1", "quiet", "con=null",
            "con0=fd:0,fd:1",
        ],
        timeout_s=_TIMEOUT_S,
        # Its memory is a file, which must not lie on a disk.
        environment={"TMPDIR": "/dev/shm"},
    )  # fmt: skip
