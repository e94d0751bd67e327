"""Load modules of the running kernel, with what they need: python -m tests.kernels.modules DIRECTORY NAME...

A guest on the machine's own files has no /lib/modules of its own, so modprobe would look in vain.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_FINIT_MODULE = 313  # x86_64, the only architecture that user-mode-linux has


def main(directory: str, *names: str) -> None:
    top = Path(directory)
    needs: dict[str, list[str]] = {}
    # "kernel/net/x.ko: kernel/net/y.ko kernel/net/z.ko", each after all that it needs in reverse order.
    for line in (top / "modules.dep").read_text().splitlines():
        path, _, below = line.partition(":")
        needs[_name(path)] = [*reversed(below.split()), path]
    for name in names:
        for path in needs.get(_name(name), ()):  # built in, or not there: the tests will tell
            _load(top / path)


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _load(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc.syscall(_FINIT_MODULE, descriptor, b"", 0) != 0:
            error = ctypes.get_errno()
            if error != errno.EEXIST:
                print(f"{path.name}: {os.strerror(error)}", file=sys.stderr)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(*sys.argv[1:])
