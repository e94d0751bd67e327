"""Docker's many ways to ask for a mount: Binds, Mounts, Tmpfs and Volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from netmodel.daemon.wire.decode import Body, refuse
from netmodel.errors import Invalid
from netmodel.model import MountConfig, Propagation

_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class BindOptions(Body):
    propagation: str | None = None
    create_mountpoint: bool = False


class DriverConfig(Body):
    name: str | None = None
    options: dict[str, str] | None = None


class VolumeOptions(Body):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
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
        raise Invalid(f"mount type {self.type!r} is not supported", "use bind, volume or tmpfs")

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
        )

    def _volume(self, options: VolumeOptions) -> MountConfig:
        driver = options.driver_config or DriverConfig()
        refuse([("VolumeOptions.Subpath", options.subpath), ("VolumeOptions.DriverConfig.Options", driver.options)])
        if driver.name not in (None, "", "local"):
            raise Invalid(f"volume driver {driver.name!r} is not known", "leave it out or use local")
        return MountConfig(
            type="volume",
            target=self.target,
            source=self.source or "",
            read_only=self.read_only,
            nocopy=options.no_copy,
        )

    def _tmpfs(self, options: TmpfsOptions) -> MountConfig:
        refuse([("Source of a tmpfs mount", self.source), ("TmpfsOptions.Options", options.options)])
        return MountConfig(
            type="tmpfs",
            target=self.target,
            read_only=self.read_only,
            tmpfs_size_bytes=options.size_bytes or None,
            tmpfs_mode=options.mode or None,
        )


def mounts(
    binds: Sequence[str], declared: Sequence[Mount], tmpfs: Mapping[str, str], volumes: Mapping[str, object]
) -> tuple[MountConfig, ...]:
    """Gather all of a request's mounts; a target may be named once."""
    found = [*map(bind, binds), *(mount.config() for mount in declared), *_tmpfs(tmpfs)]
    targets = {mount.target for mount in found}
    found += [MountConfig(type="volume", target=target) for target in volumes if target not in targets]
    seen: set[str] = set()
    for mount in found:
        if mount.target in seen:
            raise Invalid(f"two mounts have the target {mount.target}", "give each a target of its own")
        seen.add(mount.target)
    return tuple(found)


def bind(text: str) -> MountConfig:
    """Parse the short form SOURCE:TARGET[:OPTIONS]; a source that is no path is a volume's name."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[0] or not parts[1].startswith("/"):
        raise Invalid(f"volume {text!r} is not of the form SOURCE:TARGET[:OPTIONS] with an absolute TARGET")
    source, target = parts[0], parts[1]
    read_only, propagation, nocopy = False, None, False
    for option in parts[2].split(",") if len(parts) == 3 else ():
        if option in ("ro", "rw"):
            read_only = option == "ro"
        elif option in _PROPAGATIONS:
            propagation = _propagation(option)
        elif option == "nocopy":
            nocopy = True
        elif option not in ("", "z", "Z", "cached", "delegated", "consistent"):  # SELinux and macOS: nothing to do
            raise Invalid(f"volume {text!r}: option {option!r} is not known", "one of ro, rw, nocopy, [r]shared...")
    if source.startswith("/"):
        return MountConfig(
            type="bind",
            target=target,
            source=source,
            read_only=read_only,
            propagation=propagation,
            create_source=True,
        )
    if not _VOLUME_NAME.fullmatch(source):
        raise Invalid(f"volume {text!r}: {source!r} is neither an absolute path nor a volume's name")
    return MountConfig(type="volume", target=target, source=source, read_only=read_only, nocopy=nocopy)


def _tmpfs(declared: Mapping[str, str]) -> Iterator[MountConfig]:
    for target, options in declared.items():
        size, mode, read_only = None, None, False
        for option in filter(None, options.split(",")):
            name, _, value = option.partition("=")
            if name == "size":
                size = _size(value)
            elif name == "mode" and re.fullmatch("[0-7]{1,4}", value):
                mode = int(value, 8)
            elif option in ("ro", "rw"):
                read_only = option == "ro"
            # Docker's own defaults: every tmpfs of ours is mounted so.
            elif option not in ("nosuid", "nodev", "noexec"):
                raise Invalid(f"tmpfs {target}: option {option!r} is not supported", "options are size, mode, ro, rw")
        yield MountConfig(type="tmpfs", target=target, read_only=read_only, tmpfs_size_bytes=size, tmpfs_mode=mode)


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([kmg]?)b?", text.lower())
    if not found:
        raise Invalid(f"size {text!r} is not a number with an optional k, m or g")
    return int(found[1]) * _UNITS[found[2]]


def _propagation(text: str | None) -> Propagation | None:
    if not text:
        return None
    if text not in _PROPAGATIONS:
        raise Invalid(f"mount propagation {text!r} is not known", f"one of {', '.join(_PROPAGATIONS)}")
    return cast(Propagation, text)
