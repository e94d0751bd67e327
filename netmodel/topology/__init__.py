"""Topology files: Compose files with a few x- keys, read into a Project and planned against what is there.

Names are imported when they are first used: the engine plans without ever loading YAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netmodel.topology.config_hash import config_hash
    from netmodel.topology.diagnostic import Diagnostic, TopologyError
    from netmodel.topology.loader import Loaded, find_name, load
    from netmodel.topology.plan import Step

__all__ = ["Diagnostic", "Loaded", "Step", "TopologyError", "config_hash", "find_name", "load"]

_HOMES = {
    "Diagnostic": "diagnostic",
    "Loaded": "loader",
    "Step": "plan",
    "TopologyError": "diagnostic",
    "config_hash": "config_hash",
    "find_name": "loader",
    "load": "loader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    import importlib

    return getattr(importlib.import_module(f"netmodel.topology.{_HOMES[name]}"), name)
