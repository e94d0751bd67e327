"""-v, --mount and --tmpfs as the API wants them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import click

from netmodel.cli.units import Size

# As Go reads them; the bare word is true.
_BOOLEANS = {"": True, **dict.fromkeys(("1", "t", "true"), True), **dict.fromkeys(("0", "f", "false"), False)}
_FAMILIES = ("bind", "volume", "image", "tmpfs")
_RECURSIVE: dict[str, dict[str, bool]] = {
    "enabled": {},
    "disabled": {"NonRecursive": True},
    "writable": {"ReadOnlyNonRecursive": True},
    "readonly": {"ReadOnlyForceRecursive": True},
}
_KEYS = (
    "there are type, source, target, readonly, bind-propagation, bind-recursive, bind-create-src, volume-nocopy, "
    "volume-subpath, volume-driver, volume-opt, volume-label, image-subpath, tmpfs-size and tmpfs-mode"
)


def binds(texts: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Split -v into binds and anonymous volumes; relative sources become paths of ours."""
    short: list[str] = []
    anonymous: dict[str, Any] = {}
    for text in texts:
        source, colon, rest = text.partition(":")
        if not colon:
            anonymous[text] = {}
            continue
        if source.startswith(("./", "../", "~")) or source in (".", ".."):
            source = os.path.abspath(os.path.expanduser(source))
        short.append(f"{source}:{rest}")
    return short, anonymous


def tmpfs(texts: Iterable[str]) -> dict[str, str]:
    return {target: options for target, _, options in (text.partition(":") for text in texts)}


def declared_mounts(texts: Iterable[str]) -> list[dict[str, Any]]:
    return [_mount(text) for text in texts]


def _mount(text: str) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": "volume"}
    for item in _items(text):
        name, _, value = item.partition("=")
        name = name.lower()
        if name == "type":
            mount["Type"] = value.lower()
        elif name in ("source", "src"):
            mount["Source"] = os.path.abspath(value) if value.startswith(".") else value
        elif name in ("target", "dst", "destination"):
            mount["Target"] = value
        elif name in ("readonly", "ro"):
            mount["ReadOnly"] = _flag(name, value, text)
        elif name == "consistency":
            pass  # a hint for macOS
        elif name == "bind-propagation":
            mount.setdefault("BindOptions", {})["Propagation"] = value
        elif name == "bind-recursive":
            mount.setdefault("BindOptions", {}).update(_recursive(value, text))
        elif name == "bind-create-src":
            mount.setdefault("BindOptions", {})["CreateMountpoint"] = _flag(name, value, text)
        elif name == "bind-nonrecursive":  # as it was called before bind-recursive=disabled
            mount.setdefault("BindOptions", {})["NonRecursive"] = _flag(name, value, text)
        elif name == "volume-nocopy":
            mount.setdefault("VolumeOptions", {})["NoCopy"] = _flag(name, value, text)
        elif name == "volume-subpath":
            mount.setdefault("VolumeOptions", {})["Subpath"] = value
        elif name == "volume-driver":
            _driver(mount)["Name"] = value
        elif name == "volume-opt":
            option, _, setting = value.partition("=")
            _driver(mount).setdefault("Options", {})[option] = setting
        elif name == "volume-label":
            label, _, content = value.partition("=")
            mount.setdefault("VolumeOptions", {}).setdefault("Labels", {})[label] = content
        elif name == "image-subpath":
            mount.setdefault("ImageOptions", {})["Subpath"] = value
        elif name == "tmpfs-size":
            mount.setdefault("TmpfsOptions", {})["SizeBytes"] = _size(value, text)
        elif name == "tmpfs-mode":
            mount.setdefault("TmpfsOptions", {})["Mode"] = _octal(value, text)
        else:
            raise click.UsageError(f"mount {text!r}: {name!r} is not known; {_KEYS}")
    if "Target" not in mount:
        raise click.UsageError(f"mount {text!r} has no target: add target=PATH")
    for family in _FAMILIES:
        if family != mount["Type"] and f"{family.capitalize()}Options" in mount:
            raise click.UsageError(f"mount {text!r}: {family}-... is not for a mount of type {mount['Type']}")
    return mount


def _flag(name: str, value: str, text: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise click.UsageError(f"mount {text!r}: {name} is true or false, not {value!r}")
    return _BOOLEANS[value.lower()]


def _size(value: str, text: str) -> int:
    try:
        return Size().convert(value, None, None)
    except click.UsageError as error:
        raise click.UsageError(f"mount {text!r}: {error.message}") from error


def _items(text: str) -> list[str]:
    """Its parts; one with commas of its own is in quotes: "volume-opt=o=size=1m,mode=700"."""
    if '"' not in text:
        return text.split(",")
    import csv

    return next(csv.reader([text]))


def _recursive(value: str, text: str) -> dict[str, bool]:
    if value not in _RECURSIVE:
        raise click.UsageError(f"mount {text!r}: bind-recursive is one of {', '.join(_RECURSIVE)}")
    return _RECURSIVE[value]


def _driver(mount: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})
    return found


def _octal(value: str, text: str) -> int:
    try:
        return int(value, 8)
    except ValueError as error:
        raise click.UsageError(f"mount {text!r}: {value!r} is not an octal mode") from error
