"""The synchronous core: networks, endpoints, sandboxes, containers, volumes and projects of one root."""

from netmodel.engine.engine import Engine
from netmodel.engine.values import (
    Event,
    ExecConfig,
    ExecState,
    Health,
    Info,
    Progress,
    ProjectContainer,
    ProjectNetworkView,
    ProjectView,
)

__all__ = [
    "Engine",
    "Event",
    "ExecConfig",
    "ExecState",
    "Health",
    "Info",
    "Progress",
    "ProjectContainer",
    "ProjectNetworkView",
    "ProjectView",
]
