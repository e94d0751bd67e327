"""Fetching an image that somebody wants to use and that is not here."""

from __future__ import annotations

from netmodel.client import ApiError, Client


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
    if not is_registry_name(image):
        return False
    try:
        client.get(f"/images/{image}/json")
    except ApiError as error:
        if error.status != 404:
            raise
    else:
        return False
    from netmodel.cli.images import fetch

    try:
        fetch(client, image)
    except ApiError as error:
        raise ApiError(error.status, error.message, error.hint or hint) from error
    return True
