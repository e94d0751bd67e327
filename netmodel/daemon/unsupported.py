"""What Docker's API has and we have not, by name: better told than "page not found"."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from netmodel.errors import MissingFeature

_PATHS = {
    "building images is": [("POST", "/build"), ("POST", "/session"), ("POST", "/grpc")],
    "searching a registry is": [("GET", "/images/search")],
    "checkpoints of containers are": [
        (method, "/containers/{ref}/checkpoints" + rest)
        for method, rest in (("GET", ""), ("POST", ""), ("DELETE", "/{name}"))
    ],
    "swarm mode is": [("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/services"), ("POST", "/swarm/init")],
    "plugins are": [("GET", "/plugins")],
}


def _refusal(what: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise MissingFeature(f"{what} not supported yet")

    return refuse


ROUTES = tuple((method, path, _refusal(what)) for what, paths in _PATHS.items() for method, path in paths)
