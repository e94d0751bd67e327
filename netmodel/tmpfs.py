"""The options of a tmpfs beside its size and mode, as mount(8) and Docker have them.

Source: Linux Documentation/filesystems/tmpfs.rst.
"""

from __future__ import annotations

# As Docker mounts one, unless it is told otherwise.
USUAL = ("nosuid", "nodev", "noexec")
OPPOSITES = {"suid": "nosuid", "dev": "nodev", "exec": "noexec"}
_PLAIN = (*USUAL, *OPPOSITES, "rw", "ro", "noswap", "inode32", "inode64")
_VALUES = ("uid", "gid", "nr_inodes", "nr_blocks", "huge", "mpol")
HINT = f"there are size, mode, {', '.join((*_PLAIN, *_VALUES))}"


def is_option(text: str) -> bool:
    """Whether it is one: "exec", "uid=5"."""
    name, equals, _ = text.partition("=")
    return name in (_VALUES if equals else _PLAIN)
