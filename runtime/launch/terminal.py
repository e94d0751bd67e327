"""A pseudo-terminal out of the container's own /dev/pts."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios

from runtime.errors import StartFailed

_PTMX = "/dev/pts/ptmx"
_TIOCGPTPEER = 0x5441
_TIOCSPTLCK = 0x40045431


def open_pair() -> tuple[int, int]:
    """Open a new terminal: master and slave.

    Raises:
        StartFailed: What is at /dev/pts/ptmx is not a terminal's multiplexer.
    """
    try:
        master = os.open(_PTMX, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        # The container can put anything there, and a process outside is going to read from it.
        # Source: runc CVE-2025-52565.
        status = os.fstat(master)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev not in (os.makedev(5, 2), os.makedev(128, 0)):
            raise StartFailed(128, f"{_PTMX} of the container is not a terminal multiplexer")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise StartFailed(128, f"cannot open a terminal at {_PTMX} of the container: {error.strerror}") from None
    return master, slave


def make_controlling(slave: int) -> None:
    """Make it the terminal of this session, whose leader the caller is."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


def resize(master: int, rows: int, columns: int) -> None:
    """Set its size in characters; its foreground processes are told with SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
