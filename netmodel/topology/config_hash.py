"""A fingerprint of a configuration, kept in a label, so that a later `up` sees what changed.

Fields that hold their default do not count, so that a later version with more fields does not make
every running container look changed. Labels under com.docker.compose. do not count either.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from netmodel.model import ContainerConfig, NetworkConfig, VolumeConfig
from netmodel.project import CONFIG_HASH_LABEL

LABELS_OF_COMPOSE = "com.docker.compose."
Config = ContainerConfig | NetworkConfig | VolumeConfig
C = TypeVar("C", ContainerConfig, NetworkConfig, VolumeConfig)


def config_hash(config: Config) -> str:
    """The same for equal configurations, in every process and version: 64 hexadecimal digits."""
    text = json.dumps(_plain(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def with_hash(config: C) -> C:
    """The configuration with its hash among its labels."""
    return dataclasses.replace(config, labels={**config.labels, CONFIG_HASH_LABEL: config_hash(config)})


def own_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels the user chose."""
    return {name: value for name, value in labels.items() if not name.startswith(LABELS_OF_COMPOSE)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        found: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if field.name == "labels":
                item = own_labels(item)
            if item != field.default and not (field.default_factory is dict and not item):
                found[field.name] = _plain(item)
        return found
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
