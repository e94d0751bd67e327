"""Run tests on kernels other than the machine's own: python -m tests.kernels UNPACKED [KERNEL [PYTEST'S ARGUMENTS]]

UNPACKED is where Debian's kernel package was unpacked; without a kernel's name all guests run, side by
side, each with its own suite. Exits as the worst pytest did, or 3 when a guest did not get that far.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.kernels import image, qemu, uml
from tests.kernels.guest import INIT, Guest, Run


def main(unpacked: Path, kernels: Sequence[str], arguments: Sequence[str]) -> int:
    with ExitStack() as undo:
        place = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="netmodel-kernels-", dir="/var/tmp")))
        initial, disk = image.make(unpacked, place, uml.MODULES, INIT)
        guests: list[Guest] = []
        if uml.KERNEL in kernels:
            guests.append(uml.prepare(disk, place, arguments or uml.SUITE))
        if qemu.KERNEL in kernels:
            kernel = next((unpacked / "boot").glob("vmlinuz-*"))
            guests.append(qemu.prepare(kernel, initial, disk, place, arguments or qemu.suite()))
        runs = [Run(guest) for guest in guests]
        for run in runs:
            undo.callback(run.end)
        for guest, run in zip(guests, runs, strict=True):
            print(f"\n=== {guest.title} ===", flush=True)
            for line in run.lines():
                print(line, flush=True)
    return max(run.status for run in runs)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:3] or (uml.KERNEL, qemu.KERNEL), sys.argv[3:]))
    except (FileNotFoundError, image.CannotMake) as error:
        print(error, file=sys.stderr)
        sys.exit(3)
