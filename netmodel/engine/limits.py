"""Changing a container's limits and its restart policy, also while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.launch import resources_of
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.validate import check_container
from netmodel.errors import Invalid
from netmodel.model import Container

# Names of ContainerConfig's fields.
CHANGEABLE: Final = (
    "memory_bytes", "memory_swap_bytes", "memory_reservation_bytes", "memory_swappiness", "oom_kill_disable",
    "cpus", "cpu_quota_us", "cpu_period_us", "cpu_rt_runtime_us", "cpu_rt_period_us", "cpu_shares",
    "cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight", "blkio", "hugetlb_bytes", "restart",
)  # fmt: skip


class Limits:
    """Args:
    lifecycle: Knows the control groups of those that run.
    """

    def __init__(self, core: Core, containers: Containers, lifecycle: Lifecycle) -> None:
        self._core = core
        self._containers = containers
        self._lifecycle = lifecycle

    def update(self, ref: str, changes: Mapping[str, Any]) -> Container:
        """Set limits by the names of their fields; all of them, or none where one is refused.

        Raises:
            Invalid: One is no limit, or contradicts another.
            RuntimeFault: The kernel refuses one.
        """
        unknown = sorted(set(changes).difference(CHANGEABLE))
        if unknown:
            raise Invalid(f"{unknown[0]} cannot be changed", f"what can be: {', '.join(CHANGEABLE)}")
        container = self._containers.find(ref)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            changed = replace(container, config=replace(container.config, **_consistent(container, changes)))
            check_container(changed.config)
            run = self._lifecycle.runs.get(container.id) if container.state.running else None
            if run is not None:
                default_pids, counts = self._core.confinement.default_pids, self._core.cgroups.supports
                try:
                    run.cgroup.update(resources_of(changed.config, default_pids, counts))
                    self._core.records.put(changed)
                except Exception:
                    with suppress(Exception):  # the first refusal is what the caller is to hear
                        run.cgroup.update(resources_of(container.config, default_pids, counts))
                    raise
                self._lifecycle.shortage.begin(changed, run.cgroup)
            else:
                self._core.records.put(changed)
        self._containers.event("update", changed)
        return changed


def _consistent(container: Container, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The two ways to limit CPU time exclude each other: the new one takes the old one's place."""
    whole = dict(changes)
    if changes.get("cpus") is not None:
        whole.setdefault("cpu_quota_us", None)
        whole.setdefault("cpu_period_us", None)
    elif changes.get("cpu_quota_us") is not None or changes.get("cpu_period_us") is not None:
        whole.setdefault("cpus", None)
    return whole
