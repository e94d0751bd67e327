"""Being told when a file grows."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.kernel import syscall

_IN_MODIFY = 0x2
_IN_ATTRIB = 0x4  # among them its number of names
_IN_DELETE_SELF = 0x400


class Watch:
    """Readable whenever the file was written to, or has lost a name, since the last drain()."""

    def __init__(self, path: Path) -> None:
        self.fd = syscall.libc("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            syscall.libc("inotify_add_watch", self.fd, os.fsencode(path), _IN_MODIFY | _IN_ATTRIB | _IN_DELETE_SELF)
        except BaseException:
            os.close(self.fd)
            raise

    def drain(self) -> None:
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self.fd)
