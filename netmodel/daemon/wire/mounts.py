"""Docker's many ways to ask for a mount: Binds, Mounts, Tmpfs and Volumes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast, get_args

from netmodel.daemon.wire.decode import Body, refuse
from netmodel.errors import Invalid
from netmodel.model import BindRecursive, MountConfig, Propagation, VolumeConfig, VolumesFrom

_PROPAGATIONS = get_args(Propagation)
# What may stand behind a short form's second colon. Labels of SELinux and hints for macOS change nothing here.
_MODES = {
    "access": ("ro", "rw"),
    "copy": ("nocopy",),
    "propagation": _PROPAGATIONS,
    "label": ("z", "Z"),
    "consistency": ("cached", "delegated", "consistent", "default"),
}
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class BindOptions(Body):
    propagation: str | None = None
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False

    def recursive(self) -> BindRecursive:
        options: tuple[tuple[BindRecursive, bool], ...] = (
            ("disabled", self.non_recursive),
            ("writable", self.read_only_non_recursive),
            ("readonly", self.read_only_force_recursive),
        )
        chosen = [name for name, wanted in options if wanted]
        if len(chosen) > 1:
            raise Invalid(f"a bind cannot be {chosen[0]} and {chosen[1]} below its source at once", "choose one")
        return chosen[0] if chosen else "enabled"


class DriverConfig(Body):
    name: str | None = None
    options: dict[str, str] | None = None


class VolumeOptions(Body):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str | None = None


class ImageOptions(Body):
    subpath: str | None = None


class TmpfsOptions(Body):
    size_bytes: int | None = None
    mode: int | None = None
    options: list[list[str]] | None = None


class Mount(Body):
    type: str = "volume"
    source: str | None = None
    target: str = ""
    read_only: bool = False
    consistency: str | None = None
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None

    def config(self) -> MountConfig:
        if not self.target.startswith("/"):
            raise Invalid(f"mount target {self.target!r} is not an absolute path")
        if self.type == "bind":
            return self._bind(self.bind_options or BindOptions())
        if self.type == "volume":
            return self._volume(self.volume_options or VolumeOptions())
        if self.type == "tmpfs":
            return self._tmpfs(self.tmpfs_options or TmpfsOptions())
        if self.type == "image":
            return self._image(self.image_options or ImageOptions())
        raise Invalid(f"mount type {self.type!r} is not supported", "use bind, volume, tmpfs or image")

    def _bind(self, options: BindOptions) -> MountConfig:
        source = self.source or ""
        if not source.startswith("/"):
            raise Invalid(f"the source {source!r} of a bind mount is not an absolute path")
        return MountConfig(
            type="bind",
            target=self.target,
            source=source,
            read_only=self.read_only,
            propagation=_propagation(options.propagation),
            create_source=options.create_mountpoint,
            recursive=options.recursive(),
        )

    def _volume(self, options: VolumeOptions) -> MountConfig:
        driver = options.driver_config or DriverConfig()
        made = VolumeConfig(driver=driver.name or "local", options=driver.options or {}, labels=options.labels or {})
        return MountConfig(
            type="volume",
            target=self.target,
            source=self.source or "",
            read_only=self.read_only,
            nocopy=options.no_copy,
            subpath=options.subpath or "",
            volume=made if made != VolumeConfig() else None,
        )

    def _image(self, options: ImageOptions) -> MountConfig:
        return MountConfig(
            type="image", target=self.target, source=self.source or "", read_only=True, subpath=options.subpath or ""
        )

    def _tmpfs(self, options: TmpfsOptions) -> MountConfig:
        refuse([("Source of a tmpfs mount", self.source)])
        return MountConfig(
            type="tmpfs",
            target=self.target,
            read_only=self.read_only,
            tmpfs_size_bytes=options.size_bytes or None,
            tmpfs_mode=options.mode or None,
            tmpfs_options=tuple("=".join(words) for words in options.options or ()),
        )


def mounts(
    binds: Sequence[str], declared: Sequence[Mount], tmpfs: Mapping[str, str], volumes: Mapping[str, object]
) -> tuple[MountConfig, ...]:
    """Gather all of a request's mounts; a target may be named once."""
    found = [_clean(mount) for mount in (*map(bind, binds), *(mount.config() for mount in declared), *_tmpfs(tmpfs))]
    targets = {mount.target for mount in found}
    anonymous = (_clean(MountConfig(type="volume", target=target)) for target in volumes)
    found += [mount for mount in anonymous if mount.target not in targets]
    seen: set[str] = set()
    for mount in found:
        if mount.target in seen:
            raise Invalid(f"two mounts have the target {mount.target}", "give each a target of its own")
        seen.add(mount.target)
    return tuple(found)


def _clean(mount: MountConfig) -> MountConfig:
    """With its target as short as can be: /x/ and /y/../x are one place."""
    if not mount.target.startswith("/"):
        return mount
    return replace(mount, target="/" + os.path.normpath(mount.target).lstrip("/"))


def bind(text: str) -> MountConfig:
    """Parse the short form SOURCE:TARGET[:OPTIONS]; a source that is no path is a volume's name.

    Raises:
        Invalid: Also for two options of one kind, as Docker has it.
    """
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[-1] or not parts[0] or not parts[1].startswith("/"):
        raise Invalid(f"volume {text!r} is not of the form SOURCE:TARGET[:OPTIONS] with an absolute TARGET")
    source, target = parts[0], parts[1]
    chosen = _modes(parts[2] if len(parts) == 3 else "", text)
    read_only, propagation = chosen.get("access") == "ro", _propagation(chosen.get("propagation"))
    if source.startswith("/"):
        return MountConfig(
            type="bind",
            target=target,
            source=source,
            read_only=read_only,
            propagation=propagation,
            create_source=True,
            nocopy="copy" in chosen,
        )
    if not _VOLUME_NAME.fullmatch(source):
        raise Invalid(f"volume {text!r}: {source!r} is neither an absolute path nor a volume's name")
    return MountConfig(
        type="volume",
        target=target,
        source=source,
        read_only=read_only,
        propagation=propagation,
        nocopy="copy" in chosen,
    )


def volumes_from(text: str) -> VolumesFrom:
    """Parse CONTAINER[:MODE].

    Raises:
        Invalid: Also for modes that belong to each mount, as Docker has it.
    """
    container, _, mode = text.partition(":")
    if not container:
        raise Invalid(f"volumes from {text!r}: no container is named", "write CONTAINER[:ro]")
    chosen = _modes(mode, text)
    for kind in ("propagation", "copy", "consistency"):
        if kind in chosen:
            raise Invalid(f"volumes from {text!r}: {chosen[kind]} stays as it is there", "ro and rw can be chosen")
    return VolumesFrom(container=container, read_only=chosen.get("access") == "ro")


def _modes(options: str, text: str) -> dict[str, str]:
    """By kind, the option that was chosen."""
    chosen: dict[str, str] = {}
    for option in filter(None, options.split(",")):
        kind = next((kind for kind, words in _MODES.items() if option in words), None)
        if kind is None:
            raise Invalid(f"volume {text!r}: option {option!r} is not known", "one of ro, rw, nocopy, [r]shared...")
        if kind in chosen:
            raise Invalid(f"volume {text!r}: {chosen[kind]} and {option} contradict each other", "choose one")
        chosen[kind] = option
    return chosen


def _tmpfs(declared: Mapping[str, str]) -> Iterator[MountConfig]:
    for target, options in declared.items():
        most, mode, read_only, others = None, None, False, []
        for option in filter(None, options.split(",")):
            name, _, value = option.partition("=")
            if name == "size":
                most = size(value)
            elif name == "mode" and re.fullmatch("[0-7]{1,4}", value):
                mode = int(value, 8)
            elif option in ("ro", "rw"):
                read_only = option == "ro"
            else:
                others.append(option)
        yield MountConfig(
            type="tmpfs",
            target=target,
            read_only=read_only,
            tmpfs_size_bytes=most,
            tmpfs_mode=mode,
            tmpfs_options=tuple(others),
        )


def size(text: str) -> int:
    """Bytes, of a number with a unit.

    Raises:
        Invalid.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?", text.lower())
    if not found:
        raise Invalid(f"size {text!r} is not a number with an optional k, m, g or t")
    return int(float(found[1]) * _UNITS[found[2]])


def _propagation(text: str | None) -> Propagation | None:
    if not text:
        return None
    if text not in _PROPAGATIONS:
        raise Invalid(f"mount propagation {text!r} is not known", f"one of {', '.join(_PROPAGATIONS)}")
    return cast(Propagation, text)
