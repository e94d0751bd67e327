"""Networks over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from netmodel.daemon.answers import nothing, to_json
from netmodel.daemon.calls import ENGINE, call, call_long
from netmodel.daemon.query import filters
from netmodel.daemon.wire import network as shapes
from netmodel.engine import Engine
from netmodel.errors import Invalid, NotFound
from netmodel.model import Container, Endpoint, Network, NetworkConfig


def _ref(request: web.Request) -> str:
    return request.match_info["ref"]


async def _body(request: web.Request) -> bytes:
    data = await request.read()
    if data and request.content_type != "application/json":
        raise Invalid(f"unsupported Content-Type header ({request.content_type}): must be 'application/json'")
    return data


async def listing(request: web.Request) -> web.Response:
    found = await call(request, request.app[ENGINE].networks, filters(request))
    return to_json([shapes.shape(network) for network in found])


async def inspect(request: web.Request) -> web.Response:
    verbose = request.query.get("verbose", "")  # tells of a swarm's services, of which there are none
    if verbose.lower() not in ("", "0", "1", "f", "t", "false", "true"):
        raise Invalid(f"verbose={verbose} is neither true nor false")
    found = await call(request, _inspect, request.app[ENGINE], _ref(request))
    scope = request.query.get("scope", "")
    if scope not in ("", found["Scope"]):
        raise NotFound(f"no such network of scope {scope}: {_ref(request)}", f"its scope is {found['Scope']}")
    return to_json(found)


def _inspect(engine: Engine, ref: str) -> dict[str, Any]:
    network = engine.network(ref)
    containers = {container.id: container for container in engine.containers()}
    endpoints = engine.endpoints(network_id=network.id)
    # As Docker: those that run. One that is stopped holds its addresses, but is on no network.
    members: list[tuple[Container, Endpoint | None]] = [
        (containers[one.container_id], one) for one in endpoints if one.container_id in containers
    ]
    if network.name in ("host", "none"):
        members += [(one, None) for one in containers.values() if one.config.network_mode == network.name]
    running = [(container, one) for container, one in members if container.state.running]
    return shapes.shape(network, running) | shapes.status(engine.usage(network.id))


async def create(request: web.Request) -> web.Response:
    config = shapes.read_create(await _body(request))
    made, advice = await call(request, _create, request.app[ENGINE], config)
    return to_json({"Id": made.id, "Warning": "; ".join(advice)}, 201)


def _create(engine: Engine, config: NetworkConfig) -> tuple[Network, list[str]]:
    made = engine.create_network(config)
    return made, engine.advice(made.id)


async def remove(request: web.Request) -> web.Response:
    await call(request, request.app[ENGINE].remove_network, _ref(request))
    return nothing()


async def connect(request: web.Request) -> web.Response:
    container, config = shapes.read_connect(_ref(request), await _body(request))
    # A DHCP server may have to be waited for.
    await call_long(request.app[ENGINE].connect, _ref(request), container, config)
    return nothing(200)


async def disconnect(request: web.Request) -> web.Response:
    container, force = shapes.read_disconnect(await _body(request))
    await call(request, request.app[ENGINE].disconnect, _ref(request), container, force=force)
    return nothing(200)


async def prune(request: web.Request) -> web.Response:
    removed = await call_long(request.app[ENGINE].prune_networks, filters(request))
    return to_json({"NetworksDeleted": removed})


ROUTES = (
    ("GET", "/networks", listing),
    ("GET", "/networks/", listing),
    ("POST", "/networks/create", create),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{ref}", inspect),
    ("DELETE", "/networks/{ref}", remove),
    ("POST", "/networks/{ref}/connect", connect),
    ("POST", "/networks/{ref}/disconnect", disconnect),
)
