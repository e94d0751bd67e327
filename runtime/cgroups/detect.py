"""Choosing between v1 and v2."""

from __future__ import annotations

from runtime.cgroups import mounts
from runtime.cgroups.api import Cgroups
from runtime.cgroups.errors import NoCgroups
from runtime.cgroups.realtime import Time
from runtime.cgroups.v1 import CgroupsV1
from runtime.cgroups.v2 import CgroupsV2


def detect(prefix: str, realtime: Time | None = None) -> Cgroups:
    """See Cgroups.detect(). A hybrid machine's cgroup2 has no controllers, so v1 comes first."""
    hierarchies = mounts.find()
    if hierarchies.v1:
        return CgroupsV1(hierarchies.v1, prefix, realtime)
    if hierarchies.v2:
        return CgroupsV2(hierarchies.v2, prefix)
    raise NoCgroups
