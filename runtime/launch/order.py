"""The order in which a container's own mounts are attached; the spawner sends them in it."""

from __future__ import annotations

import posixpath

from runtime.spec import ContainerSpec, Mount


def ordered_mounts(spec: ContainerSpec) -> list[Mount]:
    """Mounts and files, from the root downwards. A user's mount on a file of the engine's replaces it."""
    taken = {_place(wanted) for wanted in spec.mounts}
    files = [file for file in spec.files if _place(file) not in taken]
    return sorted((*spec.mounts, *files), key=lambda wanted: _place(wanted).count("/"))


def _place(wanted: Mount) -> str:
    # One slash in front: normpath keeps two, as POSIX gives them a meaning.
    return posixpath.normpath("/" + wanted.target.lstrip("/"))
