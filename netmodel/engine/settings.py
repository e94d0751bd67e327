"""What an engine is told about its machine: by its command line, or for good by engine.json under its root.

The file's keys are those of Docker's daemon.json. The engine is started by whoever needs it first, so
what shall always hold is written there and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ipam import DefaultPool
from netmodel.errors import Invalid

_POOLS = "default-address-pools"
_NETWORK_OPTIONS = "default-network-opts"
_KEYS = (_POOLS, _NETWORK_OPTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Args:
    default_address_pools: Where automatic subnets come from, in order; a family without any has our own.
    default_network_options: By driver: what a network that users create has unless they say otherwise.
    """

    default_address_pools: tuple[DefaultPool, ...] = ()
    default_network_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def overridden_by(self, other: Settings | None) -> Settings:
        """These, but for the pools that another names."""
        return replace(self, default_address_pools=other.default_address_pools) if other else self

    def pools_of(self, family: int, otherwise: Sequence[DefaultPool]) -> Sequence[DefaultPool]:
        return [pool for pool in self.default_address_pools if pool.base.version == family] or otherwise


def read_settings(path: Path) -> Settings:
    """Read engine.json; without one everything is as usual.

    Raises:
        Invalid: It is no JSON, or says something that we do not understand; names the key.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Settings()
    except ValueError as error:
        raise Invalid(f"{path}: not JSON: {error}", "correct it, or remove the file") from error
    if not isinstance(found, dict):
        raise Invalid(f"{path}: not a JSON object", f'write it as {{"{_POOLS}": ...}}')
    for key in found:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, 1)
            raise Invalid(f"{path}: {key}: no such setting", f"did you mean {near[0]}?" if near else "remove it")
    pools = found.get(_POOLS, [])
    if not isinstance(pools, list):
        raise Invalid(f"{path}: {_POOLS}: not a list", _HINT)
    options = found.get(_NETWORK_OPTIONS, {})
    if not _is_options(options):
        raise Invalid(
            f"{path}: {_NETWORK_OPTIONS}: not options by driver",
            'write it as {"bridge": {"com.docker.network.driver.mtu": "1400"}}',
        )
    return Settings(default_address_pools=tuple(_pool(path, pool) for pool in pools), default_network_options=options)


def _is_options(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(options, dict) and all(isinstance(text, str) for text in options.values())
        for options in value.values()
    )


_HINT = 'write it as [{"base": "10.200.0.0/16", "size": 24}]'


def _pool(path: Path, value: Any) -> DefaultPool:
    where = f"{path}: {_POOLS}"
    if not isinstance(value, dict) or set(value) != {"base", "size"}:
        raise Invalid(f"{where}: {json.dumps(value)} does not have just a base and a size", _HINT)
    if not isinstance(value["base"], str) or type(value["size"]) is not int:
        raise Invalid(f"{where}: {json.dumps(value)} is not a base in quotes and a size in bits", _HINT)
    try:
        return DefaultPool(ip_network(value["base"]), value["size"])
    except ValueError as error:
        raise Invalid(f"{where}: {error}", _HINT) from error
