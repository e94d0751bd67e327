"""The local driver's options, which are those of mount(8): type, o and device, as Docker has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from runtime.kernel.filesystem import FLAGS
from runtime.volumes.errors import InvalidVolumeOption

_KNOWN = ("type", "o", "device", "size")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_TMPFS_WORDS = ("size", "mode", "uid", "gid", "nr_inodes")
# What mount(8) takes beside flags, and what only makes sense for a mount that is there.
_PROPAGATIONS = ("private", "slave", "shared", "unbindable")
_NEVER = ("bind", "rbind", "move", "remount", *_PROPAGATIONS, *(f"r{way}" for way in _PROPAGATIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Args:
    kind: "plain" is a directory of ours, "bind" one of the user's.
    size_bytes: How much a "plain" one may take; 0 is no limit.
    type: Of a "filesystem": what the kernel calls it.
    device: For "bind" the directory that the volume is, for "filesystem" what the kernel is to mount.
    flags: Mount flags by their words ("ro").
    values: As the file system takes them: size, mode and so on; None for a word without a value.
    """

    kind: Literal["plain", "bind", "tmpfs", "filesystem"] = "plain"
    type: str = ""
    device: str = ""
    flags: tuple[str, ...] = ()
    values: tuple[tuple[str, str | None], ...] = ()
    size_bytes: int = 0

    @property
    def read_only(self) -> bool:
        return next((flag == "ro" for flag in reversed(self.flags) if flag in ("ro", "rw")), False)

    @staticmethod
    def parse(options: Mapping[str, str]) -> Options:
        """Read them.

        Raises:
            InvalidVolumeOption.
        """
        for key in options:
            if key not in _KNOWN:
                raise InvalidVolumeOption(key, "the local driver has no such option")
        if "size" in options:
            return _limited(options)
        kind, device = options.get("type", ""), options.get("device", "")
        words = [word for word in options.get("o", "").split(",") if word]
        if not options:
            return Options()
        if kind == "tmpfs":
            return _tmpfs(words)
        if kind in ("", "none", "bind"):
            return _bind(kind, device, words)
        return _filesystem(kind, device, words)


def _limited(options: Mapping[str, str]) -> Options:
    """A directory of ours that may grow to a size.

    Source: docker/go-units, RAMInBytes().
    """
    text = options["size"]
    for key in options:
        if key != "size":
            raise InvalidVolumeOption(f"size={text}", f"a volume with {key}= has the size of what it is made of")
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " ")) if found else 0
    if size <= 0:
        raise InvalidVolumeOption(f"size={text}", "no size", "write it like 512m or 10g")
    return Options(size_bytes=size)


def _bind(kind: str, device: str, words: list[str]) -> Options:
    if not {"bind", "rbind"} & set(words):
        if device and not kind:
            raise InvalidVolumeOption(f"device={device}", "type= is missing: which file system it has, or o=bind")
        raise InvalidVolumeOption(f"type={kind}" if kind else f"o={','.join(words)}", "o=bind and device= are missing")
    if not device.startswith("/"):
        raise InvalidVolumeOption(f"device={device}", "a bind needs the absolute path of a directory")
    flags = tuple(word for word in words if word not in ("bind", "rbind"))
    for word in flags:
        if word not in FLAGS:
            raise InvalidVolumeOption(f"o={word}", "no such flag of a bind")
    return Options(kind="bind", device=device, flags=flags)


def _tmpfs(words: list[str]) -> Options:
    found = _parted("tmpfs", words)
    for key, value in found.values:
        if value is None or key not in _TMPFS_WORDS:
            raise InvalidVolumeOption(f"o={key}" if value is None else f"o={key}={value}", "no such option of tmpfs")
    return found


def _filesystem(kind: str, device: str, words: list[str]) -> Options:
    if not device:
        raise InvalidVolumeOption(f"type={kind}", "device= is missing: what is to be mounted")
    found = _parted("filesystem", words)
    return replace(found, type=kind, device=device)


def _parted(kind: Literal["tmpfs", "filesystem"], words: list[str]) -> Options:
    """Flags, which the kernel has for all file systems, and what is for this one."""
    for word in words:
        if word in _NEVER:
            raise InvalidVolumeOption(f"o={word}", "that is for mounts that are there already")
    values = [word.partition("=") for word in words if word not in FLAGS]
    return Options(
        kind=kind,
        type=kind,
        flags=tuple(word for word in words if word in FLAGS),
        values=tuple((key, value if is_value else None) for key, is_value, value in values),
    )
