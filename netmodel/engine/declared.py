"""What a project's declaration says of its containers: who needs whom, who comes first, which names are meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from netmodel.engine.namespaces import lender_ids
from netmodel.errors import NotFound
from netmodel.model import Container, ContainerConfig
from netmodel.project import SERVICE_LABEL, Project, ServiceContainer

_SHARED = ("network_mode", "ipc_mode", "pid_mode")


def resolved(declared: ServiceContainer, project: Project) -> ServiceContainer:
    """Name the container behind network_mode service:NAME, and its like: the service's first."""
    changes: dict[str, Any] = {}
    for field in _SHARED:
        mode = getattr(declared.config, field)
        if mode.startswith("service:"):
            changes[field] = f"container:{_first(mode, field, declared, project)}"
    givers = tuple(
        replace(one, container=_first(one.container, "volumes_from", declared, project))
        if one.container.startswith("service:")
        else one
        for one in declared.config.volumes_from
    )
    if givers != declared.config.volumes_from:
        changes["volumes_from"] = givers
    return replace(declared, config=replace(declared.config, **changes)) if changes else declared


def _first(reference: str, field: str, declared: ServiceContainer, project: Project) -> str:
    service = reference.removeprefix("service:")
    owner = next((one.name for one in project.containers if one.service == service), None)
    if owner is None:
        raise NotFound(f"{declared.name}: {field} names service {service}, which the project does not have")
    return owner


def rank(declared: ServiceContainer, project: Project) -> tuple[int, bool]:
    """By which to make containers one after the other: who lends something before who shares it, then fixed ones."""
    fixed = any(one.ipv4_address or one.ipv6_address for one in declared.config.networks)
    if not _shares(declared.config):
        return 0, not fixed
    return _depth(declared, project, {one.name: one for one in project.containers}, frozenset()), not fixed


def _depth(
    declared: ServiceContainer, project: Project, by_name: Mapping[str, ServiceContainer], below: frozenset[str]
) -> int:
    """How many lend to one another before it."""
    if declared.name in below or not _shares(declared.config):
        return 0
    config = resolved(declared, project).config
    owners = [getattr(config, field).removeprefix("container:") for field in _SHARED]
    owners += [one.container for one in config.volumes_from]
    below |= {declared.name}
    return 1 + max((_depth(by_name[one], project, by_name, below) for one in owners if one in by_name), default=0)


def _shares(config: ContainerConfig) -> bool:
    modes = (str(getattr(config, field)) for field in _SHARED)
    return bool(config.volumes_from) or any(mode.startswith(("service:", "container:")) for mode in modes)


def needs_of(containers: Sequence[Container], project: Project | None) -> dict[str, list[str]]:
    """Which of these containers each one needs: what depends_on names, and whose sandbox it uses."""
    by_service: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for container in containers:
        by_service.setdefault(container.config.labels.get(SERVICE_LABEL, ""), []).append(container.id)
        by_name[container.name] = container.id
    declared = {one.name: one for one in project.containers} if project else {}
    present = set(by_name.values())
    needs: dict[str, list[str]] = {}
    for container in containers:
        one = declared.get(container.name)
        found = [other for service in (one.depends_on if one else ()) for other in by_service.get(service, ())]
        if container.sandbox in present and container.sandbox != container.id:
            found.append(container.sandbox)
        found += [other for other in lender_ids(container.config) if other in present]
        needs[container.id] = [other for other in dict.fromkeys(found) if other != container.id]
    return needs


def in_file_order(containers: Sequence[Container], project: Project | None) -> list[Container]:
    """In the order of the file."""
    order = {one.name: number for number, one in enumerate(project.containers)} if project else {}
    return sorted(containers, key=lambda one: (order.get(one.name, len(order)), one.name))
