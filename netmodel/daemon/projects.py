"""Projects over HTTP: what a topology file declares, made, shown and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from netmodel import codec
from netmodel.daemon.answers import streaming, to_json, told
from netmodel.daemon.calls import ENGINE, call, call_long
from netmodel.daemon.query import flag
from netmodel.engine import Progress, ProjectContainer, ProjectNetworkView, ProjectView
from netmodel.errors import Invalid, NetmodelError
from netmodel.project import Project


async def _declared(request: web.Request) -> Project:
    try:
        return codec.loads(Project, await request.read())
    except codec.BadJson as error:
        raise Invalid(f"the request's body is wrong: {error}") from error


async def plan(request: web.Request) -> web.Response:
    steps = await call(request, request.app[ENGINE].plan, await _declared(request))
    return to_json(
        [{"action": step.action, "kind": step.kind, "name": step.name, "reason": step.reason} for step in steps]
    )


async def up(request: web.Request) -> web.StreamResponse:
    project, engine = await _declared(request), request.app[ENGINE]
    return await _with_progress(request, lambda tell: engine.up(project, tell))


async def down(request: web.Request) -> web.StreamResponse:
    engine, name, volumes = request.app[ENGINE], request.match_info["name"], flag(request, "volumes")
    return await _with_progress(request, lambda tell: engine.down(name, volumes=volumes, progress=tell))


async def listing(request: web.Request) -> web.Response:
    return to_json(await call(request, request.app[ENGINE].projects))


async def inspect(request: web.Request) -> web.Response:
    return to_json(_shape(await call(request, request.app[ENGINE].project, request.match_info["name"])))


async def _with_progress(
    request: web.Request, work: Callable[[Callable[[Progress], None]], None]
) -> web.StreamResponse:
    """Answer with a line of JSON for each step, the last one {"done": true} or {"error": ...}.

    The work goes on to its end even when the client leaves: half a topology serves nobody.
    """
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()

    def put(line: bytes | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def body() -> None:
        try:
            work(lambda step: put(codec.dumps(step)))
            put(b'{"done":true}')
        except NetmodelError as error:
            put(codec.dumps({"error": told(error)}))
        finally:
            put(None)

    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with streaming(request):
        working = asyncio.ensure_future(call_long(body))
        while (line := await lines.get()) is not None:
            await response.write(line + b"\n")
        await working
    await response.write_eof()
    return response


def _shape(view: ProjectView) -> dict[str, Any]:
    keys = {network.network.id: network for network in view.networks}
    return {
        "name": view.name,
        "containers": [_container(one, keys) for one in view.containers],
        "networks": [_network(one) for one in view.networks],
        "expectations": [msgspec.json.decode(codec.dumps(expectation)) for expectation in view.expectations],
    }


def _container(one: ProjectContainer, networks: dict[str, ProjectNetworkView]) -> dict[str, Any]:
    container = one.container
    return {
        "id": container.id,
        "name": container.name,
        "service": one.service,
        "number": one.number,
        "netns": str(one.netns) if one.netns else None,
        "state": container.state.status,
        "network_mode": container.config.network_mode,
        "endpoints": [
            {
                "network": networks[endpoint.network_id].network.name,
                "network_key": networks[endpoint.network_id].key,
                "interface": endpoint.interface,
                "mac": endpoint.mac,
                "addresses": list(map(str, endpoint.addresses)),
            }
            for endpoint in one.endpoints
            if endpoint.network_id in networks
        ],
        "ports": [
            {
                "container_port": port.container_port,
                "protocol": port.protocol,
                "host_address": str(port.host_address) if port.host_address else None,
                "host_port": port.host_port,
            }
            for port in container.ports
        ],
    }


def _network(one: ProjectNetworkView) -> dict[str, Any]:
    network = one.network
    return {
        "id": network.id,
        "name": network.name,
        "key": one.key,
        "external": one.external,
        "internal": network.config.internal,
        "driver": network.config.driver,
        "subnets": [
            {"subnet": str(pool.subnet), "gateway": str(pool.gateway) if pool.gateway else None}
            for pool in network.pools
        ],
    }


ROUTES = (
    ("POST", "/netmodel/projects/up", up),
    ("POST", "/netmodel/projects/plan", plan),
    ("GET", "/netmodel/projects", listing),
    ("GET", "/netmodel/projects/{name}", inspect),
    ("DELETE", "/netmodel/projects/{name}", down),
)
