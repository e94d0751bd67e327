"""What a file of the Container Device Interface may say, and the reading of one.

Unknown fields are mistakes, as they are to the interface's own library: whatever a field would have
done to a container is better refused than left out in silence.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

_VERSION = re.compile(r"v?[01]\.\d+\.\d+")
# Source: pkg/parser/parser.go, ParseQualifier() and ValidateDeviceName().
_KIND = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")


class Mistake(ValueError):
    """A file is none of the Container Device Interface's, or says what cannot be."""


class _Part(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Base of all: keys are camelCase."""


class Node(_Part):
    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class Mount(_Part):
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class Hook(_Part):
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class NetDevice(_Part):
    host_interface_name: str
    name: str


class ContainerEdits(_Part):
    env: tuple[str, ...] = ()
    device_nodes: tuple[Node, ...] = ()
    net_devices: tuple[NetDevice, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hooks: tuple[Hook, ...] = ()
    intel_rdt: dict[str, Any] | None = None
    additional_gids: tuple[int, ...] = ()


class Device(_Part):
    name: str | int  # YAML's `name: 0` is the name "0"
    container_edits: ContainerEdits
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Spec(_Part):
    """One file: a kind, its devices, and what all of them have in common."""

    cdi_version: str
    kind: str
    devices: tuple[Device, ...]
    container_edits: ContainerEdits = msgspec.field(default_factory=ContainerEdits)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


def read(path: Path) -> Spec:
    """Read a file, JSON or YAML by its name.

    Raises:
        Mistake: Says what is wrong with it.
        OSError: It cannot be read.
    """
    try:
        found = msgspec.convert(_content(path), Spec)
    except msgspec.ValidationError as error:
        raise Mistake(str(error)) from error
    if not _VERSION.fullmatch(found.cdi_version):
        raise Mistake(f"cdiVersion {found.cdi_version} is not known; 0.3.0 to 1.1.0 are")
    if not _KIND.fullmatch(found.kind):
        raise Mistake(f"kind {found.kind!r} is not of the form vendor.com/class")
    names = [str(device.name) for device in found.devices]
    if not names:
        raise Mistake("it describes no device")
    for name in names:
        if not _NAME.fullmatch(name):
            raise Mistake(f"{name!r} is no name for a device")
        if names.count(name) > 1:
            raise Mistake(f"device {name} is described twice")
    return found


def _content(path: Path) -> Any:
    data = path.read_bytes()
    if path.suffix == ".json":
        try:
            return json.loads(data)
        except ValueError as error:
            raise Mistake(f"not JSON: {error}") from error
    import yaml  # the files of most are JSON, and most machines have none

    try:
        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are safe
    except yaml.YAMLError as error:
        raise Mistake(f"not YAML: {' '.join(str(error).split())}") from error
