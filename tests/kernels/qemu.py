"""Debian's own kernel on an emulated machine: everything is in it, nftables and AppArmor too, at a tenth of the speed.

Emulated, since a machine that is virtual itself seldom lends KVM.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.kernels.guest import Guest, emulator, write_script
from tests.kernels.image import REPOSITORY

KERNEL = "debian"
_MARKER = "whole_kernel"
_TIMEOUT_S = 1500


def suite() -> list[str]:
    """The tests that are marked for it; only modules that have any, as importing all would take minutes."""
    modules = (path for path in (REPOSITORY / "tests").rglob("test_*.py") if f"mark.{_MARKER}" in path.read_text())
    named = sorted(str(path.relative_to(REPOSITORY)) for path in modules)
    return ["-q", "-m", _MARKER, "-n", "2", "--dist", "worksteal", "-o", "timeout=600", *named]


def prepare(image: Path, initial: Path, disk: Path, place: Path, arguments: Sequence[str]) -> Guest:
    """A guest that runs these tests, and keeps what it writes in place."""
    program = emulator("qemu-system-x86_64", "qemu-system-x86")
    script = place / "qemu-script"
    write_script(script, KERNEL, arguments)
    return Guest(
        kernel=KERNEL,
        title="Debian's kernel, emulated",
        command=[
            program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
            "-machine", "pc", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", "2G",
            "-kernel", str(image), "-initrd", str(initial), "-append", "console=ttyS0 quiet panic=-1",
            "-drive", f"file={disk},if=none,id=root,format=raw,snapshot=on,cache=unsafe",
            "-device", "virtio-blk-pci,drive=root",
            "-drive", f"file={script},if=none,id=script,format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=script",
        ],
        timeout_s=_TIMEOUT_S,
        environment={"TMPDIR": str(place)},
    )  # fmt: skip
