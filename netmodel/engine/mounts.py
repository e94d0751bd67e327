"""What a container may ask to have mounted, and the mounts that this becomes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from netmodel import tmpfs
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, MountConfig
from runtime.images import host
from runtime.spec import BindMount, TmpfsMount

_PARTS = ("volume", "image")


def check_mounts(mounts: Sequence[MountConfig]) -> None:
    """Refuse what cannot be mounted.

    Raises:
        Invalid: Says which and why.
    """
    for mount in mounts:
        _check_target(mount.target)
        _check_source(mount)
        _check_options(mount)
    targets = [mount.target.rstrip("/") for mount in mounts]
    for target in targets:
        if targets.count(target) > 1:
            raise Invalid(f"two mounts at {target}", "give each its own target")


def _check_target(target: str) -> None:
    if not target.startswith("/"):
        raise Invalid(f"mount target {target!r} is not absolute", "begin it with '/'")
    if target.rstrip("/") == "" or ".." in Path(target).parts:
        raise Invalid(f"mount target {target!r} is not allowed", "name a directory below the root")


def _check_source(mount: MountConfig) -> None:
    if mount.type == "image" and not mount.source:
        raise Invalid(f"the image to mount at {mount.target} is not named", "give it as the mount's source")
    if mount.type == "image" and host.is_meant(mount.source):
        raise Invalid(
            "image host is the machine itself and cannot be mounted", "bind the directory you need, or use it"
        )
    if not mount.subpath:
        return
    if mount.type not in _PARTS:
        raise Invalid(f"the {mount.type} at {mount.target} cannot have a subpath", "volumes and images have parts")
    path = Path(mount.subpath)
    if path.is_absolute() or ".." in path.parts:
        raise Invalid(f"subpath {mount.subpath!r} of {mount.target} is not below its source", "write it like data/db")


def _check_options(mount: MountConfig) -> None:
    where = f"the {mount.type} at {mount.target}"
    if mount.type != "bind" and (mount.propagation or mount.recursive != "enabled"):
        option = mount.propagation or f"recursive {mount.recursive}"
        raise Invalid(f"{where} cannot have {option!r}: that is for binds", "a bind's source is an absolute path")
    if mount.type != "volume" and mount.nocopy:
        raise Invalid(f"{where} cannot have nocopy: that is for volumes", "leave it out")
    if mount.recursive == "readonly" and not mount.read_only:
        raise Invalid(f"{where} is to be read-only with all below it, and is not read-only", "add readonly")
    if mount.recursive == "readonly" and mount.propagation not in (None, "rprivate"):
        raise Invalid(
            f"{where} cannot be read-only with all below it and {mount.propagation}", "use propagation rprivate"
        )
    for option in mount.tmpfs_options:
        if not tmpfs.is_option(option):
            raise Invalid(f"tmpfs {mount.target}: option {option!r} is not known", tmpfs.HINT)


def tmpfs_mounts(config: ContainerConfig) -> list[TmpfsMount]:
    """The tmpfs mounts that a container asks for."""
    return [_tmpfs(mount) for mount in config.mounts if mount.type == "tmpfs"]


def _tmpfs(mount: MountConfig) -> TmpfsMount:
    undone = {tmpfs.OPPOSITES.get(option) for option in mount.tmpfs_options}
    usual = (option for option in tmpfs.USUAL if option not in undone)
    asked = (option for option in mount.tmpfs_options if option not in (*tmpfs.USUAL, *tmpfs.OPPOSITES))
    return TmpfsMount(
        target=mount.target,
        size_bytes=mount.tmpfs_size_bytes,
        mode=0o1777 if mount.tmpfs_mode is None else mount.tmpfs_mode,
        options=(*usual, *asked, *(("ro",) if mount.read_only else ())),
    )


def bind_mount(mount: MountConfig) -> BindMount:
    """What the spawner mounts for a bind."""
    return BindMount(
        source=mount.source,
        target=mount.target,
        read_only=mount.read_only,
        propagation=mount.propagation or "rprivate",
        recursive=mount.recursive != "disabled",
        deep_read_only=mount.recursive != "writable",
    )


def ensure_source(mount: MountConfig, failed: ExitStack) -> None:
    """See that what is to be bound is there; the directories made for that go again on failure, while empty."""
    if not mount.source.startswith("/"):
        raise Invalid(f"bind source {mount.source!r} is not absolute", "begin it with '/'")
    source = Path(mount.source)
    if source.exists():
        return
    if not mount.create_source:
        raise Invalid(f"bind source {mount.source} does not exist", "create it, or use a named volume")
    missing = [path for path in (source, *source.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            failed.callback(_remove_empty, path)
    except OSError as error:
        raise Invalid(
            f"bind source {mount.source} does not exist and cannot be made: {path}: {error.strerror}",
            "make it, or bind another",
        ) from error


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()
