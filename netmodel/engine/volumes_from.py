"""Mounts that a container takes over from others (--volumes-from), as they are when it is made.

Source: moby daemon/volumes_unix.go, registerMountPoints(). What the container mounts itself goes before
what it takes over, later others before earlier ones, and anonymous volumes of its own give way.
"""

from __future__ import annotations

from dataclasses import replace

from netmodel.engine.core import Core
from netmodel.errors import Invalid, NotFound
from netmodel.model import Container, ContainerConfig, MountConfig


def givers(core: Core, config: ContainerConfig) -> list[Container]:
    """The containers whose mounts it takes over; they need not run.

    Raises:
        Invalid: There is no such container.
    """
    found = []
    for one in config.volumes_from:
        try:
            found.append(core.records.containers.find(one.container))
        except NotFound as error:  # the docker CLI would take it for a missing image
            raise Invalid(f"cannot take volumes from {one.container}: {error}", error.hint) from error
    return found


def with_mounts_of_others(core: Core, config: ContainerConfig) -> ContainerConfig:
    """Add the mounts of the containers that it names; their locks are held."""
    if not config.volumes_from:
        return config
    taken: dict[str, MountConfig] = {}
    for one, giver in zip(config.volumes_from, givers(core, config), strict=True):
        for mount in giver.config.mounts:
            if mount.type != "tmpfs":  # memory of that container alone
                read_only = mount.read_only or one.read_only
                taken[place(mount)] = replace(mount, read_only=read_only, shared_by=giver.id)
    own = [mount for mount in config.mounts if place(mount) not in taken or not _gives_way(mount)]
    places = {place(mount) for mount in own}
    return replace(config, mounts=(*own, *(mount for where, mount in taken.items() if where not in places)))


def _gives_way(mount: MountConfig) -> bool:
    """One of which only the place is told."""
    return mount == MountConfig(type="volume", target=mount.target)


def place(mount: MountConfig) -> str:
    return mount.target.rstrip("/")
