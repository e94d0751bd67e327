"""Images over HTTP: for now the machine's own root file system, which is always there."""

from __future__ import annotations

import hashlib
import platform
from typing import Any

from aiohttp import web

from netmodel.daemon.answers import to_json
from netmodel.daemon.query import filters
from netmodel.daemon.wire.encode import ZERO_TIME
from netmodel.errors import MissingFeature, NotFound

# Docker's clients want an id that looks like a digest.
_ID = "sha256:" + hashlib.sha256(b"netmodel image host").hexdigest()
_NAMES = ("host", "host:latest", "docker.io/library/host", "docker.io/library/host:latest", _ID)


async def listing(request: web.Request) -> web.Response:
    wanted = filters(request).get("reference", ["host"])
    return to_json([_line()] if any(name in _NAMES for name in wanted) else [])


async def inspect(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name not in _NAMES:
        raise NotFound(f"No such image: {name}", "images are host, a directory's absolute path or a tar archive's")
    return to_json(
        {
            "Id": _ID,
            "RepoTags": ["host:latest"],
            "RepoDigests": [],
            "Parent": "",
            "Comment": "the machine's own root file system, read-only",
            "Created": ZERO_TIME,
            "Architecture": platform.machine(),
            "Os": "linux",
            "Size": 0,
            "GraphDriver": {"Name": "overlayfs", "Data": None},
            "RootFS": {"Type": "layers", "Layers": []},
            "Config": {"Cmd": None, "Entrypoint": None, "Env": [], "Labels": {}},
            "Metadata": {"LastTagTime": ZERO_TIME},
        }
    )


async def pull(request: web.Request) -> web.Response:
    name = request.query.get("fromImage", "").removeprefix("docker.io/library/")
    raise MissingFeature(
        f"image {name!r} is not here, and registries are not supported yet",
        "use the image host, a directory or a tar archive",
    )


def _line() -> dict[str, Any]:
    return {
        "Id": _ID,
        "ParentId": "",
        "RepoTags": ["host:latest"],
        "RepoDigests": [],
        "Created": 0,
        "Size": 0,
        "SharedSize": -1,
        "Labels": {},
        "Containers": -1,
    }


ROUTES = (
    ("GET", "/images/json", listing),
    ("POST", "/images/create", pull),
    ("GET", "/images/{name:.+}/json", inspect),
)
