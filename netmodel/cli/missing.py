"""Fetching images that somebody wants to use: those that are not here, and those that are to be asked for again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netmodel.client import ApiError, Client

if TYPE_CHECKING:
    from netmodel.project import Project, Pull


def is_registry_name(image: str) -> bool:
    """Whether a registry could have it: the machine itself and paths are here or nowhere."""
    return not image.startswith(("/", ".")) and image.partition(":")[0] not in ("host", "sha256")


def fetch_if_missing(client: Client, image: str, hint: str = "") -> bool:
    """Fetch it, with its progress on stderr; False if it was not missing, or no registry could have it.

    Args:
        hint: The way out if it cannot be had, unless the registry knows better.

    Raises:
        ApiError: No registry gives it.
    """
    if not is_registry_name(image) or _known(client, image) is not None:
        return False
    from netmodel.cli.images import fetch

    try:
        fetch(client, image)
    except ApiError as error:
        raise ApiError(error.status, error.message, error.hint or hint) from error
    return True


def fetch_for(client: Client, project: Project, when: str | None = None) -> None:
    """Fetch what the containers of a project are made of and mount, as far as its file wants that.

    Args:
        when: In place of what the file says: "missing", "always", "never".

    Raises:
        ApiError: No registry gives one of them.
    """
    from netmodel.cli.images import fetch

    for image, pulls in _wanted(project).items():
        if not is_registry_name(image):
            continue
        asked = when or _strongest(client, image, pulls)
        if asked == "always":
            fetch(client, image)
        elif asked == "missing":
            fetch_if_missing(client, image)


def _wanted(project: Project) -> dict[str, set[Pull]]:
    found: dict[str, set[Pull]] = {}
    for container in project.containers:
        found.setdefault(container.config.image, set()).add(container.pull)
        for mount in container.config.mounts:
            if mount.type == "image":
                found.setdefault(mount.source, set()).add(container.pull)
    return found


def _strongest(client: Client, image: str, pulls: set[Pull]) -> str:
    """Several services may have one image, and each its own word on it."""
    if any(_due(client, image, pull) for pull in pulls):
        return "always"
    return "never" if all(pull.when == "never" for pull in pulls) else "missing"


def _due(client: Client, image: str, pull: Pull) -> bool:
    """Whether it is to be asked for although it may be here."""
    if pull.older_than_s is None:
        return pull.when == "always"
    known = _known(client, image)
    return known is not None and time.time() - _added(known) > pull.older_than_s


def _known(client: Client, image: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = client.get(f"/images/{image}/json")
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return found


def _added(known: Mapping[str, Any]) -> float:
    """When it was last fetched, in Unix seconds."""
    from datetime import datetime

    return datetime.fromisoformat(known["Metadata"]["LastTagTime"]).timestamp()
