"""The local driver's options, which are those of mount(8): type, o and device, as Docker has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runtime.volumes.errors import InvalidVolumeOption

_KNOWN = ("type", "o", "device")
_TMPFS_WORDS = ("size", "mode", "uid", "gid", "nr_inodes")
_FLAGS = ("ro", "rw", "nosuid", "nodev", "noexec", "suid", "dev", "exec", "noatime", "relatime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Args:
    kind: "plain" is a directory of ours.
    device: For "bind": the directory that the volume is.
    flags: Mount flags by their words ("ro").
    values: For "tmpfs": size, mode and so on, as the kernel takes them.
    """

    kind: Literal["plain", "bind", "tmpfs"] = "plain"
    device: str = ""
    flags: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def parse(options: Mapping[str, str]) -> Options:
        """Read them.

        Raises:
            InvalidVolumeOption.
        """
        if "size" in options:
            raise InvalidVolumeOption(
                f"size={options['size']}",
                "directories have no limit here; a volume in memory has: type=tmpfs, o=size=...",
            )
        for key in options:
            if key not in _KNOWN:
                raise InvalidVolumeOption(key, "the local driver has no such option")
        kind, device = options.get("type", ""), options.get("device", "")
        words = [word for word in options.get("o", "").split(",") if word]
        if not options:
            return Options()
        if kind == "tmpfs":
            return _tmpfs(words)
        if kind in ("", "none", "bind") and ("bind" in words or "rbind" in words):
            return _bind(device, [word for word in words if word not in ("bind", "rbind")])
        raise InvalidVolumeOption(
            f"type={kind}" if kind else f"o={options.get('o', '')}", "only tmpfs and bind mounts can be made"
        )


def _bind(device: str, words: list[str]) -> Options:
    if not device.startswith("/"):
        raise InvalidVolumeOption(f"device={device}", "a bind needs the absolute path of a directory")
    for word in words:
        if word not in _FLAGS:
            raise InvalidVolumeOption(f"o={word}", "no such flag of a bind")
    return Options(kind="bind", device=device, flags=tuple(words))


def _tmpfs(words: list[str]) -> Options:
    values, flags = [], []
    for word in words:
        key, is_value, value = word.partition("=")
        if is_value and key in _TMPFS_WORDS:
            values.append((key, value))
        elif not is_value and key in _FLAGS:
            flags.append(key)
        else:
            raise InvalidVolumeOption(f"o={word}", "no such option of tmpfs")
    return Options(kind="tmpfs", flags=tuple(flags), values=tuple(values))
