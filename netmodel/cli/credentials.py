"""Names and passwords for registries, where Docker keeps them: ~/.docker/config.json, written by `docker login`."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from netmodel.client import ClientError

# Under these docker.io is found.
_OFFICIAL = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


def header_for(image: str) -> str:
    """X-Registry-Auth for the registry an image is named after; "" if there is nothing to show.

    Raises:
        ClientError: The file is there and is wrong.
    """
    found = _find(_registry(image), _auths())
    if not found:
        return ""
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def _registry(image: str) -> str:
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def _auths() -> dict[str, Any]:
    directory = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    path = os.path.join(directory, "config.json")
    try:
        with open(path) as file:
            value = json.load(file)
        auths = value.get("auths") or {}
        if not isinstance(auths, dict):
            raise TypeError("auths is no object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ClientError(f"{path} cannot be used: {error}") from error
    return auths


def _find(registry: str, auths: dict[str, Any]) -> dict[str, str]:
    names = _OFFICIAL if registry in _OFFICIAL else (registry,)
    for key, entry in auths.items():
        bare = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if isinstance(entry, dict) and (key in names or bare in names):
            return _entry(entry, registry)
    return {}


def _entry(entry: dict[str, Any], registry: str) -> dict[str, str]:
    found = {"serveraddress": registry}
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except ValueError as error:
            raise ClientError(f"the credentials for {registry} in config.json are no base64") from error
        found |= {"username": username, "password": password.rstrip("\0")}
    for key in ("username", "password", "identitytoken", "registrytoken"):
        if entry.get(key):
            found[key] = str(entry[key])
    return found if len(found) > 1 else {}
