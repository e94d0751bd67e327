"""Whose namespaces a container has beside the network's: its own, the host's, or another container's."""

from __future__ import annotations

from dataclasses import replace

from netmodel.engine.core import Core
from netmodel.errors import Conflict, Invalid, MissingFeature
from netmodel.model import ContainerConfig

_IPC = ("", "private", "shareable", "none", "host")
_PID = ("", "host")


def check_namespaces(config: ContainerConfig) -> None:
    """Refuse what cannot be shared.

    Raises:
        Invalid, Conflict: Says which and why.
    """
    for mode, known, what in ((config.ipc_mode, _IPC, "IPC"), (config.pid_mode, _PID, "PID")):
        if mode.startswith("container:"):
            _check_shared(config, mode, what)
        elif mode not in known:
            raise Invalid(f"no such {what} mode: {mode}", f"one of {', '.join(filter(None, known))}, container:NAME")
    if config.pid_mode == "host" and not (config.privileged or config.userns_mode == "host"):
        raise Conflict(
            "the host's processes cannot be shared by a container with a user namespace of its own",
            "add userns_mode: host (--userns host)",
        )
    if config.uts_mode == "host" and (config.hostname or config.domainname):
        raise Conflict("a hostname and UTS mode host exclude each other", "leave out one of them")


def _check_shared(config: ContainerConfig, mode: str, what: str) -> None:
    if what == "IPC":
        raise MissingFeature(f"IPC mode {mode} is not supported yet", "ipc: host shares the host's")
    if not config.network_mode.startswith("container:"):
        raise Conflict(
            "whose processes are shared, their user namespace is shared, and that belongs to the network",
            f"share the network, too: network_mode: {mode}",
        )


def shared(core: Core, config: ContainerConfig, sandbox: str) -> ContainerConfig:
    """The container whose processes are shared, by its id: its name may change.

    Raises:
        NotFound, Conflict: There is none; it has another network.
    """
    if not config.pid_mode.startswith("container:"):
        return config
    other = core.records.containers.find(config.pid_mode.removeprefix("container:"))
    if other.sandbox != sandbox:
        raise Conflict(
            f"container {other.name}, whose processes are to be shared, is not of the same network", "share both"
        )
    return replace(config, pid_mode=f"container:{other.id}")
