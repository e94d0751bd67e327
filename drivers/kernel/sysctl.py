"""Settings of a network namespace under /proc/sys/net."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from drivers.kernel.errors import KernelError
from drivers.kernel.namespace import open_in


def read_sysctl(name: str, netns: Path | None = None) -> str | None:
    """What a setting like "net/ipv4/ip_forward" is; None where the kernel has no such setting."""

    def read() -> str | None:
        try:
            return Path("/proc/sys", name).read_text().strip()
        except FileNotFoundError:
            return None

    return open_in(netns, read)


def write_sysctl(name: str, value: str, netns: Path | None = None) -> None:
    """Change a setting.

    Raises:
        KernelError: There is none of that name, it is not writable here, or the value does not fit.
    """

    def write() -> None:
        try:
            descriptor = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, f"set {name} to {value}") from error

    open_in(netns, write)
