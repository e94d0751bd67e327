"""Finding what an image has at a path, as a container of it would see it before anything is mounted there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from runtime.images.image import Image
from runtime.kernel.overlay import view
from runtime.kernel.path import open_in
from runtime.spec import BindMount


@contextlib.contextmanager
def directory_of(image: Image, path: str) -> Iterator[int | None]:
    """A descriptor of the image's directory at a path, or None if it has none there.

    The layers are put into a mount that is attached nowhere: in it links resolve as in the container,
    the machine's own mounts are absent, and closing it undoes everything.
    """
    layers, inside = _where(image, os.path.normpath(path))
    if not layers:
        yield None
        return
    root = view(layers)
    directory = -1
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            directory = open_in(root, inside, os.O_RDONLY | os.O_DIRECTORY)
        yield None if directory < 0 or _covered(image, layers, directory) else directory
    finally:
        for descriptor in (directory, root):
            if descriptor >= 0:
                os.close(descriptor)


def _covered(image: Image, layers: tuple[str, ...], directory: int) -> bool:
    """Whether a link led from the layers to below one of the image's own mounts (/var/run to /run)."""
    return layers == image.layers and _where(image, os.readlink(f"/proc/self/fd/{directory}"))[0] != layers


def _where(image: Image, path: str) -> tuple[tuple[str, ...], str]:
    """What to stack, and the path in it; nothing for what the image covers with a tmpfs."""
    for cover in reversed(image.mounts):
        if path == cover.target or path.startswith(cover.target.rstrip("/") + "/"):
            inside = "/" + os.path.relpath(path, cover.target)
            return ((cover.source,), inside) if isinstance(cover, BindMount) else ((), inside)
    return image.layers, path
