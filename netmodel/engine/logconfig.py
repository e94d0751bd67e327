"""How much of a container's output is kept, in Docker's words."""

from __future__ import annotations

import re
from typing import NamedTuple

from netmodel.engine.filters import truth
from netmodel.errors import Invalid
from netmodel.model import LogConfig

DRIVERS = ("json-file", "local", "none")
_KNOWN = (
    "max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size",
)  # fmt: skip
_SIZE = re.compile(r"(\d+)([bkmg]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Kept(NamedTuple):
    """Bytes a file (0 is no limit), the number of files, and whether those that are full are compressed."""

    size: int
    files: int
    compressed: bool


# Of "local" Docker keeps this much unless told otherwise; of json-file everything.
_LOCAL = Kept(20 * 1024 * 1024, 5, True)
_JSON = Kept(0, 1, False)


def limits_of(config: LogConfig) -> Kept:
    """How much is kept, and how.

    Raises:
        Invalid: The driver or an option is not known, or has no such value.
    """
    if config.driver not in DRIVERS:
        raise Invalid(f"log driver {config.driver!r} is not supported", f"one of {', '.join(DRIVERS)}")
    for name, value in config.options.items():
        if name not in _KNOWN:
            raise Invalid(f"log option {name}={value} is not supported", f"there are: {', '.join(_KNOWN)}")
    size, files, compressed = _LOCAL if config.driver == "local" else _JSON
    size = _size(config.options["max-size"]) if "max-size" in config.options else size
    files = _count(config.options["max-file"]) if "max-file" in config.options else files
    if files > 1 and not size:
        raise Invalid(f"max-file={files} without max-size would keep one file for ever", "give max-size, too")
    if "compress" in config.options:
        compressed = truth(config.options["compress"])
        if compressed and (files < 2 or not size):
            raise Invalid("compress=true without max-size and max-file compresses nothing", "give both, too")
    return Kept(size, files, compressed and files > 1)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None and text != "-1":
        raise Invalid(f"max-size={text} is no size", "10m, 512k or -1 for no limit")
    return int(match[1]) * _UNITS[match[2].lower()] if match else 0


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise Invalid(f"max-file={text} is no number of files", "at least 1")
    return int(text)
