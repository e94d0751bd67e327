"""Named and anonymous volumes: their records, who uses them, and the mounts they become."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from netmodel.engine.core import Core
from netmodel.engine.handed_on import handed_on
from netmodel.engine.mounts import bind_mount, ensure_source
from netmodel.engine.names import check_name, new_id
from netmodel.engine.undo import Undo, every_step
from netmodel.errors import Conflict, Invalid, NotFound
from netmodel.model import Container, ContainerConfig, MountConfig, Volume, VolumeConfig
from runtime.images import Image
from runtime.spec import BindMount, LayersMount
from runtime.volumes import Driver


class EngineVolumes:
    """Creates and removes volumes; a volume in use stays."""

    def __init__(self, core: Core) -> None:
        self._core = core
        # Held while it is decided whether a volume is used, so that none goes just as a container comes.
        self._lock = threading.Lock()
        self._used_by: dict[str, set[str]] = {}  # container ids by volume name
        for container in core.records.containers:
            self._use(container)

    # --- volumes ------------------------------------------------------------------------------

    def create(self, config: VolumeConfig) -> Volume:
        """Make it, or return the one of that name if it is made the same way."""
        with self._lock:
            return self._create(config)

    def _create(self, config: VolumeConfig) -> Volume:
        driver = self._driver(config.driver)
        anonymous = not config.name or _is_id(config.name)
        name = check_name("volume", config.name) if config.name else new_id()
        found = self._core.records.volume(name)
        if found is not None:
            if found.config.driver != config.driver:
                raise Conflict(f"volume {name} exists with driver {found.config.driver}", "choose another name")
            return found
        volume = Volume(config=replace(config, name=name), created_at=datetime.now(UTC), anonymous=anonymous)
        with Undo() as undo:
            undo.callback(driver.remove, name)
            driver.create(name, config.options)
            self._core.records.put(volume)
            undo.pop_all()
        self._event("create", volume)
        return volume

    def _driver(self, name: str) -> Driver:
        found = self._core.volumes.get(name)
        if found is None:
            raise Invalid(f"no such volume driver: {name}", f"there is: {', '.join(sorted(self._core.volumes))}")
        return found

    def _driver_of(self, name: str) -> Driver:
        return self._driver(self.get(name).config.driver)

    def get(self, name: str) -> Volume:
        found = self._core.records.volume(name)
        if found is None:
            raise NotFound(f"no such volume: {name}")
        return found

    def path(self, name: str) -> Path:
        return self._driver_of(name).path(name)

    def usage(self, name: str) -> int:
        """Bytes that it takes on the disk; as quick as there are few files."""
        return self._driver_of(name).usage(name)

    def remove(self, name: str, force: bool = False) -> None:
        """Remove it with its data. force: one that is not there is no error."""
        with self._lock:
            volume = self._core.records.volume(name)
            if volume is None:
                if force:
                    return
                raise NotFound(f"no such volume: {name}")
            users = self.users(name)
            if users:
                raise Conflict(
                    f"volume {name} is in use by {', '.join(sorted(container.name for container in users))}",
                    "remove these containers first",
                )
            self._core.records.delete(volume)
            self._driver(volume.config.driver).remove(name)
        self._event("destroy", volume)

    def users(self, name: str) -> list[Container]:
        found = (self._core.records.containers.get(key) for key in self._used_by.get(name, ()))
        return [container for container in found if container is not None]

    # --- of a container -------------------------------------------------------------------------

    def name_mounts(self, config: ContainerConfig, image: Image) -> ContainerConfig:
        """Give anonymous mounts their names, the image's volumes a mount each, and mounted images their ids."""
        covered = {mount.target.rstrip("/") for mount in config.mounts}
        mounts = [
            replace(mount, source=new_id()) if mount.type == "volume" and not mount.source else self._found(mount)
            for mount in config.mounts
        ]
        mounts += [
            MountConfig(type="volume", source=new_id(), target=target)
            for target in image.config.volumes
            if target.rstrip("/") not in covered
        ]
        return config if mounts == list(config.mounts) else replace(config, mounts=tuple(mounts))

    def images_of(self, config: ContainerConfig) -> list[str]:
        """Ids of the images that it wants to have mounted."""
        found = (self._found(mount).image_id for mount in config.mounts if mount.type == "image")
        return [image_id for image_id in found if image_id]

    def _found(self, mount: MountConfig) -> MountConfig:
        if mount.type != "image" or mount.shared_by:
            return mount
        image = self._core.images.resolve(mount.source)
        # A directory is no image of the store: it is found by its path each time.
        return replace(mount, image_id="" if Path(mount.source).is_dir() else image.id, read_only=True)

    def ensure(self, container: Container, image: Image, failed: ExitStack) -> None:
        """Make the volumes a new container mounts, with the image's content in those that are new."""
        for mount in container.config.mounts:
            if mount.type == "bind" and not mount.shared_by:
                ensure_source(mount, failed)
        for mount in container.config.mounts:
            if mount.type != "volume":
                continue
            with self._lock:
                new = self._core.records.volume(mount.source) is None
                if new:
                    self._create(replace(mount.volume or VolumeConfig(), name=mount.source))
                self._used_by.setdefault(mount.source, set()).add(container.id)
            if new:
                failed.callback(self._unmake, mount.source)
            failed.callback(self._forget, container.id, mount.source)
            if not mount.nocopy and not mount.subpath and not mount.shared_by:
                self._driver_of(mount.source).populate(mount.source, image, mount.target)

    def _unmake(self, name: str) -> None:
        with suppress(Conflict):  # another container uses it already
            self.remove(name, force=True)

    def mount(self, container: Container, user: str = "") -> list[BindMount | LayersMount]:
        """What the spawner mounts for its binds, volumes and images; its volumes are there until unmount().

        Args:
            user: Who has them meanwhile, if not the container itself as it runs.
        """
        with ExitStack() as failed:
            failed.callback(self.unmount, container, user)
            user = user or container.id
            found = [self._mount(mount, user) for mount in container.config.mounts if mount.type != "tmpfs"]
            failed.pop_all()
        return found

    def unmount(self, container: Container, user: str = "") -> None:
        """Undo mount(), or what is left of it."""
        with every_step(f"cannot let go of all volumes of container {container.name}") as step:
            for volume in self._of(container):
                with step:
                    self._driver(volume.config.driver).unmount(volume.name, user or container.id)

    def adopt(self, container: Container) -> None:
        """It has its volumes since an engine before this one."""
        for volume in self._of(container):
            self._driver(volume.config.driver).adopt(volume.name, container.id)

    def _of(self, container: Container) -> list[Volume]:
        names = dict.fromkeys(mount.source for mount in container.config.mounts if mount.type == "volume")
        return [volume for name in names if (volume := self._core.records.volume(name)) is not None]

    def _mount(self, mount: MountConfig, user: str) -> BindMount | LayersMount:
        if mount.type == "volume":
            return self._driver_of(mount.source).mount(
                mount.source, user, mount.target, read_only=mount.read_only, subpath=mount.subpath
            )
        if mount.type == "image":
            image = self._core.images.resolve(mount.image_id or mount.source)
            return LayersMount(layers=tuple(image.layers), target=mount.target, subpath=mount.subpath)
        return bind_mount(mount)

    def release(self, container: Container, remove_anonymous: bool) -> None:
        """A container is gone: its volumes have one user less.

        What it took over stays if it was never whole: then it never had it.
        """
        names = [mount.source for mount in container.config.mounts if mount.type == "volume"]
        for name in names:
            self._forget(container.id, name)
        if not remove_anonymous:
            return
        if container.creating:
            names = [
                mount.source for mount in container.config.mounts if mount.type == "volume" and not mount.shared_by
            ]
        held = handed_on(self._core.records)
        self.remove_unused(name for name in names if name not in held)

    def remove_unused(self, names: Iterable[str]) -> None:
        """Those of them that are anonymous and that nobody has."""
        with every_step("cannot remove all anonymous volumes") as step:
            for name in names:
                volume = self._core.records.volume(name)
                if volume is not None and volume.anonymous and not self.users(name):
                    with step:
                        self.remove(name, force=True)

    def _use(self, container: Container) -> None:
        for mount in container.config.mounts:
            if mount.type == "volume":
                self._used_by.setdefault(mount.source, set()).add(container.id)

    def _forget(self, container_id: str, name: str) -> None:
        with self._lock:
            users = self._used_by.get(name, set())
            users.discard(container_id)
            if not users:
                self._used_by.pop(name, None)

    def _event(self, action: str, volume: Volume) -> None:
        self._core.events.publish("volume", action, volume.name, {"driver": volume.config.driver})


def _is_id(name: str) -> bool:
    """Whether we made the name up: 64 hexadecimal digits."""
    return len(name) == 64 and not set(name) - set("0123456789abcdef")
