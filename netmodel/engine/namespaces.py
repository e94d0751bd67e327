"""Whose namespaces a container has beside the network's: its own, the host's, or another container's.

Who shares another's processes or IPC has that one's user namespace as well, whatever the network: what is
in such a namespace belongs to the user namespace that it was made in, and nobody else may use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from netmodel.engine.core import Core
from netmodel.errors import Conflict, Invalid
from netmodel.model import Container, ContainerConfig

_IPC = ("", "private", "shareable", "none", "host")
_PID = ("", "host")
# Source: Linux ipc/ipc_sysctl.c, ipc/mq_sysctl.c.
IPC_SYSCTLS = re.compile(r"kernel\.(msg\w+|sem|shm\w+)|fs\.mqueue\..+")


def check_namespaces(config: ContainerConfig) -> None:
    """Refuse what cannot be shared.

    Raises:
        Invalid, Conflict: Says which and why.
    """
    for mode, known, what in ((config.ipc_mode, _IPC, "IPC"), (config.pid_mode, _PID, "PID")):
        if mode not in known and not mode.startswith("container:"):
            raise Invalid(f"no such {what} mode: {mode}", f"one of {', '.join(filter(None, known))}, container:NAME")
    for mode, what in ((config.uts_mode, "UTS"), (config.cgroupns_mode, "cgroup namespace")):
        if mode not in ("", "private", "host"):
            raise Invalid(f"no such {what} mode: {mode}", "private or host")
    if config.pid_mode == "host" and not (config.privileged or config.userns_mode == "host"):
        raise Conflict(
            "the host's processes cannot be shared by a container with a user namespace of its own",
            "add userns_mode: host (--userns host)",
        )
    if config.uts_mode == "host" and (config.hostname or config.domainname):
        raise Conflict("a hostname and UTS mode host exclude each other", "leave out one of them")
    if config.ipc_mode == "host" or config.ipc_mode.startswith("container:"):
        for name in config.sysctls:
            if IPC_SYSCTLS.fullmatch(name):
                raise Conflict(
                    f"sysctl {name} cannot be set in IPC mode {config.ipc_mode}: it would change another's IPC",
                    "set it on the container that owns the IPC namespace",
                )


def lender_ids(config: ContainerConfig) -> list[str]:
    """The containers whose PID or IPC namespace it shares, of a config that shared() has gone over."""
    modes = (config.pid_mode, config.ipc_mode)
    return [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]


def lenders(core: Core, config: ContainerConfig) -> list[Container]:
    """The containers whose PID or IPC namespace it shares; for IPC, who owns that.

    Raises:
        NotFound, Conflict: There is none; its IPC is its own.
    """
    found = []
    if config.pid_mode.startswith("container:"):
        found.append(core.records.containers.find(config.pid_mode.removeprefix("container:")))
    if config.ipc_mode.startswith("container:"):
        found.append(_ipc_owner(core, config.ipc_mode))
    return found


def _ipc_owner(core: Core, mode: str) -> Container:
    while mode.startswith("container:"):
        owner = core.records.containers.find(mode.removeprefix("container:"))
        mode = owner.config.ipc_mode
    if mode == "host":
        raise Conflict(f"container {owner.name} has the host's IPC namespace", "use IPC mode host")
    if mode != "shareable":
        raise Conflict(
            f"container {owner.name} has an IPC namespace for itself alone",
            f"create {owner.name} with IPC mode shareable (--ipc shareable, ipc: shareable)",
        )
    return owner


def shared(core: Core, config: ContainerConfig) -> ContainerConfig:
    """Name the containers whose namespaces are shared by their ids: their names may change."""
    changes: dict[str, Any] = {}
    if config.pid_mode.startswith("container:"):
        changes["pid_mode"] = f"container:{core.records.containers.find(config.pid_mode.removeprefix('container:')).id}"
    if config.ipc_mode.startswith("container:"):
        changes["ipc_mode"] = f"container:{_ipc_owner(core, config.ipc_mode).id}"
    return replace(config, **changes) if changes else config


def users_owner(core: Core, container: Container) -> Container:
    """Whose user namespace a container has: mostly its own, or that of who owns its sandbox."""
    owner_id = container.users or (container.id if container.sandbox == "host" else container.sandbox)
    if owner_id == container.id:
        return container
    owner = core.records.containers.get(owner_id)
    if owner is None:
        raise Conflict(
            f"the container whose user namespace {container.name} has is gone ({owner_id[:12]})",
            f"remove {container.name} and create it again",
        )
    return owner if container.users else users_owner(core, owner)


def lent_users(core: Core, config: ContainerConfig, others: Sequence[Container]) -> Container | None:
    """Whose user namespace a container is to have that shares namespaces of these others; None without any.

    Raises:
        Conflict: They have different ones, or another than the container asks for.
    """
    owners = [users_owner(core, other) for other in others]
    mapped = {owner.id if owner.idmap_base is not None else "" for owner in owners}
    if len(mapped) > 1:
        names = " and ".join(sorted({other.name for other in others}))
        raise Conflict(
            f"containers {names} have different user namespaces, and who shares with both can have but one",
            "let them share the network, or set userns_mode: host on both",
        )
    for other, owner in zip(others, owners, strict=True):
        if config.userns_mode == "host" and owner.idmap_base is not None:
            raise Conflict(
                f"container {other.name} has its own user namespace, which who shares with it has, too",
                "leave out userns_mode, or set it on both",
            )
    return owners[0] if owners else None


def borrowers(core: Core, container: Container) -> list[Container]:
    """Those that share its processes, its IPC or its user namespace without sharing its network."""
    return [
        other
        for other in core.records.containers
        if other.id != container.id and (other.users == container.id or container.id in lender_ids(other.config))
    ]
