"""Mounts as Docker's clients see them: short forms where there is one, else long ones."""

from __future__ import annotations

from typing import Any

from netmodel.model import MountConfig, VolumeConfig, VolumesFrom


def short(mount: MountConfig) -> str | None:
    """The short form of a bind or volume; None if it has none."""
    if mount.shared_by or not mount.source or mount.type not in ("bind", "volume") or _only_long(mount):
        return None
    options = [
        *(["ro"] if mount.read_only else []),
        *(["nocopy"] if mount.nocopy else []),
        *([mount.propagation] if mount.propagation else []),
    ]
    return ":".join([mount.source, mount.target, *([",".join(options)] if options else [])])


def _only_long(mount: MountConfig) -> bool:
    return bool(mount.subpath or mount.volume or mount.recursive != "enabled")


def shape(mount: MountConfig) -> dict[str, Any] | None:
    """The long form of what has no short one."""
    if mount.shared_by or mount.type == "tmpfs" or short(mount) is not None:
        return None
    if mount.type == "volume" and not mount.source:
        return None
    subpath = {"Subpath": mount.subpath} if mount.subpath else {}
    found: dict[str, Any] = {"Type": mount.type, "Source": mount.source, "Target": mount.target}
    if mount.read_only:
        found["ReadOnly"] = True
    if mount.type == "image":
        return {**found, **({"ImageOptions": subpath} if subpath else {})}
    if mount.type == "bind":
        return {**found, "BindOptions": _bind_options(mount)}
    made = mount.volume or VolumeConfig()
    options = {
        **({"NoCopy": True} if mount.nocopy else {}),
        **({"Labels": dict(made.labels)} if made.labels else {}),
        **({"DriverConfig": {"Name": made.driver, "Options": dict(made.options)}} if mount.volume else {}),
        **subpath,
    }
    return {**found, "VolumeOptions": options}


def _bind_options(mount: MountConfig) -> dict[str, Any]:
    return {
        **({"Propagation": mount.propagation} if mount.propagation else {}),
        **({"CreateMountpoint": True} if mount.create_source else {}),
        **({"NonRecursive": True} if mount.recursive == "disabled" else {}),
        **({"ReadOnlyNonRecursive": True} if mount.recursive == "writable" else {}),
        **({"ReadOnlyForceRecursive": True} if mount.recursive == "readonly" else {}),
    }


def giver(one: VolumesFrom) -> str:
    """As HostConfig.VolumesFrom has it."""
    return f"{one.container}:ro" if one.read_only else one.container


def tmpfs_options(mount: MountConfig) -> str:
    """A tmpfs as HostConfig.Tmpfs has it."""
    options = [
        *(["ro"] if mount.read_only else []),
        *([f"size={mount.tmpfs_size_bytes}"] if mount.tmpfs_size_bytes else []),
        *([f"mode={mount.tmpfs_mode:o}"] if mount.tmpfs_mode is not None else []),
        *mount.tmpfs_options,
    ]
    return ",".join(options)
