"""Anonymous volumes of a project's containers that are made anew: the next container has them, as with Compose.

They are written down before the first container goes, and while they are, nobody's end takes them along. So neither a
failed up nor a killed engine loses them: whoever brings the project up next finds them, and its down removes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace

from netmodel.engine.core import Core
from netmodel.engine.records import Records
from netmodel.model import Container, ContainerConfig, MountConfig

_KEY = "handed-on/"

_Held = dict[str, dict[str, str]]  # volumes by the container's name, and by the place in it


def handed_on(records: Records) -> set[str]:
    """The volumes that await the next container of some project."""
    held: Iterable[_Held] = map(json.loads, records.meta(_KEY).values())
    return {volume for containers in held for places in containers.values() for volume in places.values()}


class HandedOn:
    """Those of one project."""

    def __init__(self, core: Core, project: str) -> None:
        self._core = core
        self._key = _KEY + project

    def keep(self, containers: Iterable[Container]) -> None:
        """Their containers are about to go, and they shall not."""
        held = self._held()
        for container in containers:
            own = {_place(mount.target): mount.source for mount in container.config.mounts if self._is_own(mount)}
            if own:
                held[container.name] = held.get(container.name, {}) | own
        self._write(held)

    def give(self, name: str, config: ContainerConfig) -> ContainerConfig:
        """What the container of this name shall be, with what its predecessor had in the same places."""
        held = self._held().get(name, {})
        there = {place: volume for place, volume in held.items() if self._core.records.volume(volume) is not None}
        if not there:
            return config
        mounts = [
            replace(mount, source=there[_place(mount.target)])
            if (mount.type, mount.source, mount.volume) == ("volume", "", None) and _place(mount.target) in there
            else mount
            for mount in config.mounts
        ]
        taken = {_place(mount.target) for mount in mounts}
        mounts += [
            MountConfig(type="volume", source=there[place], target=place)
            for place in map(_place, self._core.images.resolve(config.image).config.volumes)
            if place in there and place not in taken
        ]
        return replace(config, mounts=tuple(mounts))

    def settle(self, remove_unused: Callable[[Iterable[str]], None]) -> None:
        """Those that nobody has go: what followed has no place for them, or nothing follows."""
        if held := self._held():
            remove_unused(volume for places in held.values() for volume in places.values())
            self._write({})

    def _is_own(self, mount: MountConfig) -> bool:
        """Whether it is anonymous, and the container's own."""
        if mount.type != "volume" or mount.shared_by:
            return False
        volume = self._core.records.volume(mount.source)
        return volume is not None and volume.anonymous

    def _held(self) -> _Held:
        stored = self._core.records.meta(self._key).get(self._key)
        found: _Held = json.loads(stored) if stored else {}
        return found

    def _write(self, held: _Held) -> None:
        if held != self._held():
            self._core.records.write(meta={self._key: json.dumps(held) if held else None})


def _place(target: str) -> str:
    return target.rstrip("/") or "/"
