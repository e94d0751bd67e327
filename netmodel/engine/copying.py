"""Files in and out of containers, whether they run or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.launch import layers_of
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Conflict, Forbidden, translate
from netmodel.model import Container
from runtime import archive
from runtime.archive import PathStat, Place, Running, Stopped
from runtime.errors import RuntimeFault
from runtime.spec import BindMount, RootFs


class Copying:
    def __init__(self, core: Core, containers: Containers, volumes: EngineVolumes) -> None:
        self._core = core
        self._containers = containers
        self._volumes = volumes

    def stat(self, ref: str, path: str) -> PathStat:
        with self._place(self._containers.find(ref)) as place:
            return archive.stat(place, path)

    def read(self, ref: str, path: str) -> Iterator[bytes]:
        """A tar stream. To be iterated over in one thread, which keeps the container as it is meanwhile."""
        try:
            container = self._containers.find(ref)
            with self._place(container) as place:
                yield from archive.read(place, path)
            self._containers.event("archive-path", container)
        except RuntimeFault as fault:  # it comes while somebody iterates, past the engine's own border
            raise translate(fault) from fault

    def write(self, ref: str, path: str, source: int, keep_owners: bool, replace_kinds: bool) -> None:
        container = self._containers.find(ref)
        if container.config.read_only and not self._on_a_mount(container, path):
            raise Forbidden(f"the root of container {container.name} is read-only", "copy to one of its volumes")
        with self._place(container) as place:
            archive.write(place, path, source, keep_owners=keep_owners, replace_kinds=replace_kinds)
        self._containers.event("extract-to-dir", container)

    @contextmanager
    def _place(self, container: Container) -> Iterator[Place]:
        """Where its files are. One that does not run cannot be started meanwhile: two would mount its layer."""
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            if container.state.status in ("restarting", "removing", "dead"):
                raise Conflict(f"container {container.name} is {container.state.status}", "try again")
            if not container.state.running:
                with self._stopped(container) as stopped:
                    yield stopped
                return
            pidfd = os.pidfd_open(container.state.pid)
        try:
            yield Running(pidfd, container.idmap_base is not None)
        finally:
            os.close(pidfd)

    @contextmanager
    def _stopped(self, container: Container) -> Iterator[Stopped]:
        image = self._containers.image_of(container)
        upper, work = self._core.layers.paths(container.id)
        bound = [mount for mount in image.mounts if isinstance(mount, BindMount)]
        try:
            mounts = [*bound, *self._volumes.mount(container, "copy")]
            mounts.sort(key=lambda mount: mount.target.count("/"))
            layers = layers_of(image, self._core.layers.below())
            yield Stopped(RootFs(layers=layers, upper=str(upper), work=str(work)), mounts)
        finally:
            self._volumes.unmount(container, "copy")

    def _on_a_mount(self, container: Container, path: str) -> bool:
        """Whether what is written there is the mount's own business."""
        clean = os.path.normpath("/" + path.lstrip("/"))
        return any(
            clean == mount.target.rstrip("/") or clean.startswith(mount.target.rstrip("/") + "/")
            for mount in container.config.mounts
            if not mount.read_only
        )
