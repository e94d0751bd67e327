"""The HTTP application: routes, versions, and errors as Docker's clients expect them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from netmodel import __version__
from netmodel.daemon import (
    containers,
    events,
    execs,
    files,
    images,
    networks,
    output,
    projects,
    statistics,
    system,
    unsupported,
    volumes,
)
from netmodel.daemon.answers import API_VERSION, HEADERS, HOST, MIN_API_VERSION, SHUTDOWN, STREAMS, failure
from netmodel.daemon.calls import ENGINE, POOL
from netmodel.engine import Engine
from netmodel.errors import Conflict, Invalid, NetmodelError, NotFound, translate

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_THREADS = 32
_MAX_BODY = 64 * 1024 * 1024  # a topology of thousands of containers comes in one body
_ANY_ROOT = ("/netmodel/status", "/netmodel/shutdown")
log = logging.getLogger("netmodel")


def application(engine: Engine, host: str, stop: Callable[[], None]) -> web.Application:
    """Everything the engine answers to.

    Args:
        host: Where it listens, to tell who asks.
        stop: Ends the process, gracefully.
    """
    app = web.Application(middlewares=[_errors], client_max_size=_MAX_BODY)
    app[ENGINE], app[HOST], app[SHUTDOWN], app[STREAMS] = engine, host, stop, set()
    app[execs.REFUSED] = {}
    app[POOL] = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
    for module in (
        system,
        containers,
        statistics,
        output,
        execs,
        files,
        networks,
        volumes,
        images,
        events,
        projects,
        unsupported,
    ):
        for method, path, handler in module.ROUTES:
            for prefix in ("", r"/v{api:\d+\.\d+}"):
                app.router.add_route(method, prefix + path, handler)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(_end_streams)
    app.on_cleanup.append(_end_pool)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        _check_version(request)
        _check_client(request)
        return await handler(request)
    except web.HTTPException as error:
        missing = NotFound(f"page not found: {request.method} {request.path}")
        return failure(request, missing) if error.status in (404, 405) else failure(request, Invalid(error.reason))
    except ConnectionError:
        return web.Response(status=499)  # the client has left; nobody reads this
    except NetmodelError as error:
        if error.kind == "internal":
            log.exception("%s %s failed", request.method, request.path)
        return failure(request, error)
    except Exception as error:
        log.exception("%s %s failed", request.method, request.path)
        return failure(request, translate(error))


def _check_version(request: web.Request) -> None:
    asked = request.match_info.get("api")
    if asked is None:
        return
    if _number(asked) > _number(API_VERSION):
        raise Invalid(f"client version {asked} is too new. Maximum supported API version is {API_VERSION}")
    if _number(asked) < _number(MIN_API_VERSION):
        raise Invalid(f"client version {asked} is too old. Minimum supported API version is {MIN_API_VERSION}")


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _check_client(request: web.Request) -> None:
    """Refuse a client of ours that means another engine, before anything is done for it."""
    if request.path in _ANY_ROOT:
        return
    version = request.headers.get("Netmodel-Client", __version__)
    if version != __version__:
        raise Conflict(
            f"the engine is netmodel {__version__}, this client {version}",
            "stop it with `netmodel engine stop` (containers run on) and run the command again",
        )
    root, ours = unquote(request.headers.get("Netmodel-Root", "")), str(request.app[ENGINE].root)
    if root and root != ours:
        raise Conflict(
            f"the engine at this socket has the root {ours}, not {root}",
            "give each root a socket of its own with --host",
        )


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def _end_streams(app: web.Application) -> None:
    streams: set[asyncio.Task[Any]] = app[STREAMS]
    for task in tuple(streams):
        task.cancel()


async def _end_pool(app: web.Application) -> None:
    app[POOL].shutdown(wait=False, cancel_futures=True)
