"""A ContainerSpec as the JSON that crosses the spawner's socket, and back.

Written out by the shape of the dataclasses; fields at their default are left out, so that a message
stays within one datagram.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.spec import (
    BindMount,
    ContainerSpec,
    DeviceNode,
    Hook,
    IdMap,
    LayersMount,
    Mount,
    Process,
    RootFs,
    TmpfsMount,
    Ulimit,
)

_Value = ContainerSpec | Process | RootFs | Mount | Ulimit | IdMap | DeviceNode | Hook
_DEFAULTS: dict[type, dict[str, Any]] = {}


def encode(value: _Value) -> dict[str, Any]:
    """Turn a value into dicts, lists, strings and numbers."""
    cls = type(value)
    defaults = _DEFAULTS.get(cls)
    if defaults is None:
        defaults = _DEFAULTS[cls] = {name: field.default for name, field in cls.__dataclass_fields__.items()}
    result = {}
    for name, default in defaults.items():
        field = getattr(value, name)
        if field != default:
            result[name] = _encode_field(field)
    return result


def _encode_field(field: Any) -> Any:
    if hasattr(field, "__dataclass_fields__"):
        return encode(field)
    if isinstance(field, tuple):
        return [_encode_field(item) for item in field]
    return field


def decode_container(data: Mapping[str, Any]) -> ContainerSpec:
    """Read what encode() made of a ContainerSpec.

    Raises:
        TypeError: A field is missing or unknown.
    """
    fields = _tuples(data)
    idmap = fields.get("idmap")
    fields["idmap"] = None if idmap is None else IdMap(**_tuples(idmap))
    fields["process"] = decode_process(data["process"])
    fields["rootfs"] = decode_rootfs(data["rootfs"])
    fields["mounts"] = tuple(decode_mount(item) for item in data.get("mounts", ()))
    fields["files"] = tuple(BindMount(**item) for item in data.get("files", ()))
    fields["hooks"] = tuple(Hook(**_tuples(item)) for item in data.get("hooks", ()))
    fields["nodes"] = tuple(DeviceNode(**item) for item in data.get("nodes", ()))
    return ContainerSpec(**fields)


def decode_process(data: Mapping[str, Any]) -> Process:
    """Read what encode() made of a Process."""
    fields = _tuples(data)
    fields["ulimits"] = tuple(Ulimit(**item) for item in data.get("ulimits", ()))
    return Process(**fields)


def decode_rootfs(data: Mapping[str, Any]) -> RootFs:
    """Read what encode() made of a RootFs."""
    return RootFs(**_tuples(data))


def decode_mount(data: Mapping[str, Any]) -> Mount:
    """Read what encode() made of a mount."""
    if "source" in data:
        return BindMount(**_tuples(data))
    if "layers" in data:
        return LayersMount(**_tuples(data))
    return TmpfsMount(**_tuples(data))


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _tuple(value: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(item) if isinstance(item, list) else item for item in value)
