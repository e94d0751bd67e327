"""Block devices as the I/O controllers name them."""

from __future__ import annotations

import os
import stat

from runtime.errors import RuntimeFault


class NotABlockDevice(RuntimeFault):
    """A limit was asked for on something that is no block device."""

    kind = "invalid"
    hint = "see lsblk for the devices of this machine; a limit is set on the whole disk"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not a block device of this machine")


def block_device(path: str) -> str:
    """ "MAJOR:MINOR" of a node."""
    try:
        node = os.stat(path)
    except OSError:
        raise NotABlockDevice(path) from None
    if not stat.S_ISBLK(node.st_mode):
        raise NotABlockDevice(path)
    return f"{os.major(node.st_rdev)}:{os.minor(node.st_rdev)}"
