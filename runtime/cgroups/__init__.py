"""Control groups: limits, statistics, freezing and killing, the same over v1 and v2."""

from runtime.cgroups.api import Cgroup, Cgroups, Feature, Stats
from runtime.cgroups.errors import (
    CgroupBusy,
    CgroupMissing,
    FreezeFailed,
    LimitRefused,
    LimitUnavailable,
    NoCgroups,
)

__all__ = [
    "Cgroup",
    "CgroupBusy",
    "CgroupMissing",
    "Cgroups",
    "Feature",
    "FreezeFailed",
    "LimitRefused",
    "LimitUnavailable",
    "NoCgroups",
    "Stats",
]
