"""Images as Docker's clients see them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from netmodel.daemon.wire.decode import decode
from netmodel.daemon.wire.encode import ZERO_TIME, moment
from netmodel.engine.images import DiskUsage
from netmodel.errors import Invalid
from runtime.images import Details, Image
from runtime.images import config as configs
from runtime.images.registry import Credentials


def line(details: Details, containers: int = -1, shared: int = -1) -> dict[str, Any]:
    """What `GET /images/json` tells of one."""
    image = details.image
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": _tags(image),
        "RepoDigests": list(image.digests),
        "Created": int(image.created_at.timestamp()),
        "Size": image.size_bytes,
        "SharedSize": shared,
        "Labels": dict(image.config.labels),
        "Containers": containers,
    }


def inspect(details: Details) -> dict[str, Any]:
    """What `GET /images/{name}/json` tells."""
    image, config = details.image, details.config
    settings = config.get("config") or _config(image)
    return {
        "Id": image.id,
        "RepoTags": _tags(image),
        "RepoDigests": list(image.digests),
        "Parent": "",
        "Comment": "the machine's own root file system, read-only" if not config else _comment(details),
        "Created": moment(image.created_at),
        "DockerVersion": "",
        "Author": str(config.get("author") or ""),
        "Architecture": str(config.get("architecture") or configs.architecture()),
        "Variant": str(config.get("variant") or ""),
        "Os": str(config.get("os") or "linux"),
        "Size": image.size_bytes,
        "GraphDriver": {"Name": "overlayfs", "Data": None},
        "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer, _ in details.layers]},
        "Config": settings,
        "ContainerConfig": settings,  # Docker before its API 1.45, and docker-compose 1 fails without
        "Metadata": {"LastTagTime": moment(details.added_at) if details.added_at else ZERO_TIME},
    }


def history(details: Details) -> list[dict[str, Any]]:
    """What was done to make it, the last step first, each with the size of its layer if it made one."""
    sizes = iter([size for _, size in details.layers])
    steps: list[dict[str, Any]] = []
    for step in _steps(details):
        empty = bool(step.get("empty_layer"))
        steps.append(
            {
                "Id": "<missing>",
                "Created": _seconds(step.get("created")),
                "CreatedBy": str(step.get("created_by") or ""),
                "Tags": None,
                "Size": 0 if empty else next(sizes, 0),
                "Comment": str(step.get("comment") or ""),
            }
        )
    if steps:
        steps[-1] |= {"Id": details.image.id, "Tags": _tags(details.image) or None}
    return steps[::-1]


def usage(found: DiskUsage) -> dict[str, Any]:
    """What `GET /system/df` tells of images."""
    return {
        "LayersSize": found.layers_bytes,
        "Images": [line(one.details, one.containers, one.shared_bytes) for one in found.images],
        "Netmodel": {"BlobsSize": found.blobs_bytes, "Reclaimable": found.reclaimable_bytes},
    }


def credentials(header: str) -> Credentials | None:
    """Read X-Registry-Auth: JSON as base64 for URLs.

    Raises:
        Invalid: It is none.
    """
    if not header:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        found = Credentials(
            username=str(value.get("username") or ""),
            password=str(value.get("password") or ""),
            identity_token=str(value.get("identitytoken") or ""),
            registry_token=str(value.get("registrytoken") or ""),
        )
    except (binascii.Error, ValueError, AttributeError) as error:
        raise Invalid("the credentials in X-Registry-Auth are no JSON in base64") from error
    return found if found != Credentials() else None


class AuthRequest(msgspec.Struct):
    username: str | None = None
    password: str | None = None
    serveraddress: str | None = None
    identitytoken: str | None = None


def login(data: bytes) -> tuple[str, Credentials]:
    """The registry, as images name it, and who wants in.

    Raises:
        Invalid: Nobody is named.
    """
    request = decode(AuthRequest, data)
    address = (request.serveraddress or "").removeprefix("https://").removeprefix("http://").partition("/")[0]
    credentials = Credentials(
        username=request.username or "", password=request.password or "", identity_token=request.identitytoken or ""
    )
    if credentials == Credentials():
        raise Invalid("neither a name nor a token is given")
    return "docker.io" if address in ("", "index.docker.io", "registry-1.docker.io") else address, credentials


_MEMBERS = (
    "Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "StopSignal", "User", "Volumes",
    "WorkingDir",
)  # fmt: skip


def members(body: bytes) -> Mapping[str, Any]:
    """What the body of a commit changes in the configuration: Docker's Config, of which an image has these.

    Raises:
        Invalid: It is none.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Invalid(f"the request's body is not JSON: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid("the request's body is no container configuration")
    return {name: value[name] for name in _MEMBERS if value.get(name)}


def _comment(details: Details) -> str:
    """Its own, or that of its last step."""
    return str(details.config.get("comment") or _steps(details)[-1].get("comment") or "")


def _tags(image: Image) -> list[str]:
    return ["host:latest" if name == "host" else name for name in image.names]


def _steps(details: Details) -> list[dict[str, Any]]:
    found = details.config.get("history")
    if isinstance(found, list) and all(isinstance(step, dict) for step in found) and found:
        return found
    return [{} for _ in details.layers]


def _seconds(value: Any) -> int:
    try:
        return int(configs.moment(str(value or "")).timestamp())
    except ValueError:
        return 0


def _config(image: Image) -> dict[str, Any]:
    config = image.config
    return {
        "Cmd": list(config.cmd) or None,
        "Entrypoint": list(config.entrypoint) or None,
        "Env": [f"{key}={value}" for key, value in config.env],
        "WorkingDir": config.working_dir,
        "User": config.user,
        "Labels": dict(config.labels),
    }
