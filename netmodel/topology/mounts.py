"""Volumes, bind mounts and tmpfs of a service, in both of Compose's forms.

Source: docs.docker.com, Compose file reference, "volumes": a source that begins with ".", "/" or "~" is a
path, beside the file if relative; any other is the name of a volume.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from netmodel import tmpfs
from netmodel.model import BindRecursive, MountConfig, Propagation, VolumeConfig, VolumesFrom
from netmodel.topology import units
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.keys import MOUNT, MOUNT_BIND, MOUNT_IMAGE, MOUNT_TMPFS, MOUNT_VOLUME
from netmodel.topology.value import Fields, Value

_PROPAGATIONS: tuple[Propagation, ...] = get_args(Propagation)
_RECURSIVE: tuple[BindRecursive, ...] = get_args(BindRecursive)
# SELinux labels and the caching hints of Docker Desktop: nothing to do here.
_SILENT_OPTIONS = frozenset(("rw", "z", "Z", "cached", "delegated", "consistent"))
_TYPES = ("bind", "volume", "tmpfs", "image", "npipe", "cluster")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount and where it is declared; the source of a volume is still its key in the file."""

    config: MountConfig
    value: Value


def read(fields: Fields, directory: Path) -> list[Mount]:
    """Read `volumes` and `tmpfs` of a service.

    Args:
        directory: The topology's, absolute.
    """
    found: list[Mount] = []
    for item in fields.each("volumes"):
        config = _long(item, directory) if item.is_mapping else _short(item, directory)
        if config is not None:
            found.append(Mount(config, item))
    if "tmpfs" in fields:
        for item in fields["tmpfs"].one_or_more():
            config = _tmpfs(item)
            if config is not None:
                found.append(Mount(config, item))
    _check_targets(found)
    return found


def volumes_from(fields: Fields) -> list[tuple[VolumesFrom, Value]]:
    """Read SERVICE[:ro] and container:NAME[:ro], each with its place; a service is named as service:NAME."""
    found = []
    for item in fields.each("volumes_from"):
        one = item.parsed(_giver)
        if one is not None:
            found.append((one, item))
    return found


def _giver(text: str) -> VolumesFrom:
    kind, separator, rest = text.partition(":")
    name, _, mode = rest.partition(":") if kind == "container" and separator else text.partition(":")
    if not name:
        raise ValueError(f'"{text}" names nobody; write SERVICE, SERVICE:ro or container:NAME:ro')
    if mode not in ("", "ro", "rw"):
        raise ValueError(f'unknown mode "{mode}"; use ro or rw')
    return VolumesFrom(container=name if kind == "container" else f"service:{name}", read_only=mode == "ro")


def host_path(text: str, directory: Path) -> str:
    """A path as the file names it, made absolute."""
    expanded = os.path.expanduser(text)  # noqa: PTH111 - text, not a Path: "./x" must stay what it is
    return os.path.normpath(os.path.join(directory, expanded))  # noqa: PTH118


def is_path(text: str) -> bool:
    return text.startswith((".", "/", "~"))


def _check_targets(mounts: list[Mount]) -> None:
    seen: dict[str, Value] = {}
    for mount in mounts:
        target = os.path.normpath(mount.config.target)
        if target in seen:
            mount.value.error(f"{target} is mounted twice; the first is in {seen[target].place}")
        seen.setdefault(target, mount.value)


def _target(text: str, item: Value) -> str | None:
    if not text.startswith("/"):
        item.error(f'the path in the container must be absolute, not "{text}"')
        return None
    return text


def _short(item: Value, directory: Path) -> MountConfig | None:
    text = item.text("text or a mapping")
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        item.error(f'"{text}" is no mount; write it like ./data:/data:ro or name:/data')
        return None
    source, target, options = (parts[0], parts[1], parts[2:]) if len(parts) > 1 else ("", parts[0], [])
    if _target(target, item) is None:
        return None
    read_only, nocopy, propagation = False, False, None
    for option in options[0].split(",") if options else ():
        if option == "ro":
            read_only = True
        elif option in ("nocopy", "volume-nocopy"):
            nocopy = True
        elif option in _PROPAGATIONS:
            propagation = option
        elif option not in _SILENT_OPTIONS:
            item.error(f'unknown mount option "{option}"', did_you_mean(option, ("ro", "rw", "nocopy", *_PROPAGATIONS)))
    if is_path(source):
        return MountConfig(
            type="bind",
            source=host_path(source, directory),
            target=target,
            read_only=read_only,
            propagation=propagation,
            create_source=True,
        )
    if propagation is not None:
        item.error(f'"{propagation}" is for bind mounts, and "{source}" is a volume', "a path begins with ./ or /")
    return MountConfig(type="volume", source=source, target=target, read_only=read_only, nocopy=nocopy)


def _long(item: Value, directory: Path) -> MountConfig | None:
    fields = item.fields(MOUNT)
    kind, target = fields.text("type"), fields.text("target")
    for name in ("type", "target"):
        if name not in fields:
            item.error_at_key(f"lacks {name}")
    if not kind or not target:
        return None
    if kind not in _TYPES:
        fields["type"].error(f'unknown type "{kind}"', did_you_mean(kind, _TYPES) or "use bind, volume or tmpfs")
        return None
    if _target(target, fields["target"]) is None:
        return None
    read_only, source = fields.flag("read_only"), fields.text("source")
    if kind == "bind":
        return _long_bind(item, fields, target, read_only, source, directory)
    if kind == "volume":
        options = fields["volume"].fields(MOUNT_VOLUME) if "volume" in fields else Fields(item)
        labels = options.words("labels")
        if labels and source:
            fields["volume"].warn("labels of a named volume belong to it, under volumes:; ignored")
        return MountConfig(
            type="volume",
            source=source,
            target=target,
            read_only=read_only,
            nocopy=options.flag("nocopy"),
            subpath=options.parsed("subpath", _subpath) or "",
            volume=VolumeConfig(labels=labels) if labels and not source else None,
        )
    if kind == "tmpfs":
        return _long_tmpfs(item, fields, target, read_only)
    if kind == "image":
        return _long_image(item, fields, target, source)
    fields["type"].warn(f"mounts of type {kind} are not supported yet; ignored")
    return None


def _long_bind(
    item: Value, fields: Fields, target: str, read_only: bool, source: str, directory: Path
) -> MountConfig | None:
    if not source:
        item.error_at_key("a bind mount needs source, a path on this machine")
        return None
    options = fields["bind"].fields(MOUNT_BIND) if "bind" in fields else Fields(item)
    return MountConfig(
        type="bind",
        source=host_path(source, directory),
        target=target,
        read_only=read_only,
        propagation=options.parsed("propagation", _propagation),
        create_source=options.flag("create_host_path", True),
        recursive=options.parsed("recursive", _recursive) or "enabled",
    )


def _long_image(item: Value, fields: Fields, target: str, source: str) -> MountConfig | None:
    if not source:
        item.error_at_key("a mount of an image needs source, the image's name")
        return None
    options = fields["image"].fields(MOUNT_IMAGE) if "image" in fields else Fields(item)
    return MountConfig(
        type="image",
        source=source,
        target=target,
        read_only=True,
        subpath=options.parsed("subpath", _subpath) or "",
    )


def _long_tmpfs(item: Value, fields: Fields, target: str, read_only: bool) -> MountConfig:
    options = fields["tmpfs"].fields(MOUNT_TMPFS) if "tmpfs" in fields else Fields(item)
    return MountConfig(
        type="tmpfs",
        target=target,
        read_only=read_only,
        tmpfs_size_bytes=options.parsed("size", units.size_bytes),
        tmpfs_mode=options.parsed("mode", _mode),
    )


def _tmpfs(item: Value) -> MountConfig | None:
    """Read "/run" or "/run:size=16M,mode=1750,ro"."""
    text = item.text()
    if text is None:
        return None
    target, _, options = text.partition(":")
    if _target(target, item) is None:
        return None
    size, mode, read_only, others = None, None, False, []
    for option in filter(None, options.split(",")):
        name, _, value = option.partition("=")
        try:
            if name == "size":
                size = units.size_bytes(value)
            elif name == "mode":
                mode = _mode(value)
            elif name == "ro":
                read_only = True
            elif option != "rw":
                others.append(option)
                if not tmpfs.is_option(option):
                    item.error(f'unknown tmpfs option "{option}"', tmpfs.HINT)
        except ValueError as error:
            item.error(str(error))
    return MountConfig(
        type="tmpfs",
        target=target,
        read_only=read_only,
        tmpfs_size_bytes=size,
        tmpfs_mode=mode,
        tmpfs_options=tuple(others),
    )


def _mode(text: str) -> int:
    """Read an octal mode, with or without its leading 0 or 0o."""
    digits = text.removeprefix("0o")
    if not digits or not set(digits) <= set("01234567") or len(digits) > 5:
        raise ValueError(f'"{text}" is no file mode; write it in octal, like 1777 or 0755')
    return int(digits, 8)


def _subpath(text: str) -> str:
    if not text or text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f'"{text}" is not below what is mounted; write it like data/db')
    return text


def _recursive(text: str) -> BindRecursive:
    for known in _RECURSIVE:
        if text == known:
            return known
    raise ValueError(f'unknown recursion "{text}"; use one of {", ".join(_RECURSIVE)}')


def _propagation(text: str) -> Propagation:
    for known in _PROPAGATIONS:
        if text == known:
            return known
    raise ValueError(f'unknown propagation "{text}"; use one of {", ".join(_PROPAGATIONS)}')
