"""depends_on: which services come before, and how far they must have come."""

from __future__ import annotations

from typing import Any

from netmodel.project import Dependency
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.keys import DEPENDENCY
from netmodel.topology.value import Fields, Value

CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
Depends = dict[str, tuple[Dependency, Value]]


def read(fields: Fields) -> Depends:
    """By service, each with its place."""
    if "depends_on" not in fields:
        return {}
    value = fields["depends_on"]
    if value.is_mapping:
        return {name: (_dependency(name, item), item) for name, item in value.pairs().items()}
    found: Depends = {}
    for item in value.items("a list or a mapping"):
        name = item.text()
        if name is not None:
            found[name] = Dependency(service=name), item
    return found


def _dependency(name: str, item: Value) -> Dependency:
    section = item.fields(DEPENDENCY) if not item.is_null else Fields(item)
    condition: Any = section.text("condition", "service_started")
    if condition not in CONDITIONS:
        section["condition"].error(f'unknown condition "{condition}"', did_you_mean(condition, CONDITIONS))
        condition = "service_started"
    return Dependency(
        service=name,
        condition=condition,
        required=section.flag("required", True),
        restart=section.flag("restart"),
    )
