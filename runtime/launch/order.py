"""The order in which a container's own mounts are attached; the spawner sends them in it."""

from __future__ import annotations

import posixpath

from runtime.spec import BindMount, ContainerSpec, TmpfsMount


def ordered_mounts(spec: ContainerSpec) -> list[BindMount | TmpfsMount]:
    """Mounts and files, from the root downwards. A user's mount on a file of the engine's replaces it."""
    taken = {posixpath.normpath(wanted.target) for wanted in spec.mounts}
    files = [file for file in spec.files if posixpath.normpath(file.target) not in taken]
    return sorted((*spec.mounts, *files), key=lambda wanted: posixpath.normpath(wanted.target).count("/"))
