"""POST /containers/{id}/update: what can be changed of a container, also while it runs."""

from __future__ import annotations

from typing import Any

from netmodel.daemon.wire.decode import decode
from netmodel.daemon.wire.life import Policy, policy
from netmodel.daemon.wire.resources import Resources, limits


class UpdateRequest(Resources):
    restart_policy: Policy | None = None


def read_update(data: bytes) -> dict[str, Any]:
    """The changes by the names of ContainerConfig's fields."""
    request = decode(UpdateRequest, data)
    changes = limits(request)
    if request.restart_policy is not None and request.restart_policy.name:
        changes["restart"] = policy(request.restart_policy)
    return changes
