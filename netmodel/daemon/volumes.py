"""Volumes over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from netmodel.daemon.answers import nothing, to_json
from netmodel.daemon.calls import ENGINE, call, call_long
from netmodel.daemon.query import filters, flag
from netmodel.daemon.wire import volume as shapes
from netmodel.engine import Engine
from netmodel.model import Volume


def _shape(engine: Engine, volume: Volume) -> dict[str, Any]:
    return shapes.shape(volume, engine.volume_path(volume.name))


def usage(engine: Engine) -> list[dict[str, Any]]:
    """All of them with what they take, for `GET /system/df`."""
    return [
        shapes.shape(volume, engine.volume_path(volume.name), *engine.volume_usage(volume.name))
        for volume in engine.volumes()
    ]


def _inspected(engine: Engine, name: str) -> dict[str, Any]:
    volume = engine.volume(name)
    # Docker's word for a size that nobody has measured: it may take long.
    return shapes.shape(volume, engine.volume_path(name), -1, engine.volume_users(name))


async def listing(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    found = await call(request, engine.volumes, filters(request))
    return to_json({"Volumes": [_shape(engine, volume) for volume in found], "Warnings": None})


async def inspect(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    return to_json(await call(request, _inspected, engine, request.match_info["name"]))


async def create(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    made = await call(request, engine.create_volume, shapes.read_create(await request.read()))
    return to_json(_shape(engine, made), 201)


async def remove(request: web.Request) -> web.Response:
    force = flag(request, "force")
    await call_long(request.app[ENGINE].remove_volume, request.match_info["name"], force=force)
    return nothing()


async def prune(request: web.Request) -> web.Response:
    removed, freed = await call_long(request.app[ENGINE].prune_volumes, filters(request))
    return to_json({"VolumesDeleted": removed, "SpaceReclaimed": freed})


ROUTES = (
    ("GET", "/volumes", listing),
    ("POST", "/volumes/create", create),
    ("POST", "/volumes/prune", prune),
    ("GET", "/volumes/{name}", inspect),
    ("DELETE", "/volumes/{name}", remove),
)
