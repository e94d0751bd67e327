"""Which graph driver a directory's file system allows: asked by trying, once, and kept."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from runtime.images.graphdriver.api import GraphDriver
from runtime.images.graphdriver.copy import Copied
from runtime.images.graphdriver.overlay import OPAQUE, Overlay


def choose(directory: Path, wanted: str = "") -> GraphDriver:
    """The driver that has layers in this directory, else the one that is wanted, else the best that works.

    Args:
        wanted: "overlay", "copy" or "".
    """
    chosen, name = directory / "driver", ""
    with suppress(FileNotFoundError):
        name = chosen.read_text()
    if not name or (wanted and name != wanted and not _has_layers(directory)):
        os.makedirs(directory, 0o700, exist_ok=True)
        name = wanted or ("overlay" if _keeps_signs(directory) else "copy")
        fresh = directory / f".{secrets.token_hex(8)}"
        fresh.write_text(name)
        os.rename(fresh, chosen)
    return Copied() if name == "copy" else Overlay()


def _has_layers(directory: Path) -> bool:
    with suppress(FileNotFoundError):
        return bool(os.listdir(directory / "layers"))
    return False


def _keeps_signs(directory: Path) -> bool:
    place = directory / f".{secrets.token_hex(8)}"
    os.mkdir(place, 0o700)
    try:
        os.mknod(place / "hidden", 0o020000, os.makedev(0, 0))
        os.setxattr(place, OPAQUE, b"y")
    except OSError:
        return False
    else:
        return True
    finally:
        shutil.rmtree(place)
