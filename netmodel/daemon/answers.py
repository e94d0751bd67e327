"""What every answer has in common: its headers, JSON, and how a failure is told."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import web

from netmodel import __version__
from netmodel.errors import NetmodelError, StartRefused, http_status

API_VERSION = "1.48"
MIN_API_VERSION = "1.24"
SHUTDOWN: web.AppKey[Callable[[], None]] = web.AppKey("shutdown")
HOST = web.AppKey("host", str)
STREAMS: web.AppKey[set[asyncio.Task[Any]]] = web.AppKey("streams")

HEADERS = {
    "Api-Version": API_VERSION,
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"netmodel/{__version__} (linux {platform.machine()})",
    "Netmodel-Version": __version__,
}


def to_json(value: Any, status: int = 200) -> web.Response:
    # Docker's CLI reads an error only under exactly this type, without a charset.
    return web.Response(body=msgspec.json.encode(value), status=status, headers={"Content-Type": "application/json"})


def nothing(status: int = 204) -> web.Response:
    return web.Response(status=status)


def told(error: NetmodelError) -> dict[str, Any]:
    """A failure as JSON for a client of ours."""
    answer: dict[str, Any] = {"message": error.message, "status": http_status(error.kind)}
    if error.hint:
        answer["hint"] = error.hint
    if isinstance(error, StartRefused):
        answer["start_code"] = error.code
    return answer


def failure(request: web.Request, error: NetmodelError) -> web.Response:
    status = http_status(error.kind)
    if status == 304:
        return nothing(304)
    answer = told(error)
    if "Netmodel-Client" not in request.headers:
        answer["message"] = _for_docker(error)
    return to_json(answer, status)


def _for_docker(error: NetmodelError) -> str:
    """Docker's CLI prints the message alone, and reads `run`'s exit code out of its words."""
    words = {127: "executable file not found", 126: "permission denied"}
    message = error.message
    if isinstance(error, StartRefused) and (word := words.get(error.code, "")) not in message:
        message += f": {word}"
    return f"{message} ({error.hint})" if error.hint else message


@contextmanager
def streaming(request: web.Request) -> Iterator[None]:
    """Mark a handler as one that goes on until it is told to end, so that the engine can close."""
    task = asyncio.current_task()
    assert task is not None
    request.app[STREAMS].add(task)
    try:
        yield
    finally:
        request.app[STREAMS].discard(task)
