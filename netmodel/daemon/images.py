"""Images over HTTP, as Docker's API has them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from aiohttp import web

from netmodel import codec
from netmodel.daemon import containers, volumes
from netmodel.daemon.answers import nothing, streaming, to_json, told
from netmodel.daemon.calls import ENGINE, call, call_long, iterate
from netmodel.daemon.query import filters, flag
from netmodel.daemon.wire import image as shapes
from netmodel.daemon.wire.instructions import changes as read_changes
from netmodel.errors import Invalid, NetmodelError, NotFound, translate
from runtime.images import Reference, Tell, host
from runtime.images.stream import CHUNK

_SILENT_S = 0.1  # between two figures of one layer
_LOOK_S = 1.0


def _ref(request: web.Request) -> str:
    name = request.match_info["name"]
    return host.NAME if host.is_meant(name) else name


async def listing(request: web.Request) -> web.Response:
    wanted = dict(filters(request))
    if request.query.get("filter"):  # of old
        wanted["reference"] = [request.query["filter"]]
    if any(host.is_meant(name) for name in wanted.get("reference", ())):
        wanted["reference"] = [*wanted["reference"], host.NAME]
    return to_json([shapes.line(one) for one in await call(request, request.app[ENGINE].images.listed, wanted)])


async def inspect(request: web.Request) -> web.Response:
    return to_json(shapes.inspect(await call(request, _details, request, _ref(request))))


async def history(request: web.Request) -> web.Response:
    return to_json(shapes.history(await call(request, _details, request, _ref(request))))


def _details(request: web.Request, ref: str) -> Any:
    engine = request.app[ENGINE]
    try:
        found = engine.images.details(ref)
    except NetmodelError as error:
        if error.kind == "not_found":  # these words are what docker pulls upon
            raise NotFound(f"No such image: {ref}", error.hint) from error
        raise
    if found.image.id == host.ID:
        return engine.images.listed({"reference": [host.NAME]})[0]
    return found


async def create(request: web.Request) -> web.StreamResponse:
    """Pull, or import what the body brings."""
    query, engine = request.query, request.app[ENGINE]
    if query.get("fromSrc"):
        return await _import(request)
    name = query.get("fromImage", "")
    if not name:
        raise Invalid("no image is named", "give fromImage, or fromSrc and a body")
    name = _tagged(name, query.get("tag", ""))
    credentials = shapes.credentials(request.headers.get("X-Registry-Auth", ""))
    platform = query.get("platform", "")
    return await _with_progress(request, lambda tell: engine.images.pull(name, platform, credentials, tell))


async def _import(request: web.Request) -> web.StreamResponse:
    query, engine = request.query, request.app[ENGINE]
    if query["fromSrc"] != "-":
        raise Invalid("an import takes its archive from the request's body", "give fromSrc=-")
    name = _tagged(query["repo"], query.get("tag", "")) if query.get("repo") else ""
    changes = read_changes(query.getall("changes", []))
    body = _Body(request)

    def work(tell: Tell) -> None:
        image = engine.images.import_(body, query.get("message", "") or "an archive", name, changes)
        tell(status=image.id)

    return await _with_progress(request, work)


async def commit(request: web.Request) -> web.Response:
    """An image of a container. The body may have a configuration, whose members go before the container's."""
    query, engine = request.query, request.app[ENGINE]
    body = await request.read()
    changes = {**shapes.members(body), **read_changes(query.getall("changes", []))}
    image = await call_long(
        engine.commit,
        query.get("container", ""),
        _tagged(query["repo"], query.get("tag", "")) if query.get("repo") else "",
        author=query.get("author", ""),
        comment=query.get("comment", ""),
        changes=changes,
        pause="pause" not in query or flag(request, "pause"),
    )
    return to_json({"Id": image.id}, 201)


async def load(request: web.Request) -> web.StreamResponse:
    engine, body, quiet = request.app[ENGINE], _Body(request), flag(request, "quiet")

    def work(tell: Tell) -> Iterable[dict[str, Any]]:
        for image in engine.images.load(body, _quiet(tell) if quiet else tell):
            names = [f"Loaded image: {name}" for name in image.names] or [f"Loaded image ID: {image.id}"]
            yield from ({"stream": f"{text}\n"} for text in names)

    return await _with_progress(request, work)


async def push(request: web.Request) -> web.StreamResponse:
    engine = request.app[ENGINE]
    name = _tagged(request.match_info["name"], request.query.get("tag", ""))
    credentials = shapes.credentials(request.headers.get("X-Registry-Auth", ""))
    return await _with_progress(request, lambda tell: engine.images.push(name, credentials, tell))


async def save(request: web.Request) -> web.StreamResponse:
    engine = request.app[ENGINE]
    names = [request.match_info["name"]] if "name" in request.match_info else request.query.getall("names", [])
    wanted = [name for text in names for name in text.split(",") if name]
    if not wanted:
        raise Invalid("no image is named")
    return await _archive(request, await call(request, engine.images.save, wanted))


async def export(request: web.Request) -> web.StreamResponse:
    engine = request.app[ENGINE]
    return await _archive(request, await call(request, engine.images.export, request.match_info["ref"]))


async def tag(request: web.Request) -> web.Response:
    name = _tagged(request.query.get("repo", ""), request.query.get("tag", ""))
    await call(request, request.app[ENGINE].images.tag, _ref(request), name)
    return nothing(201)


async def remove(request: web.Request) -> web.Response:
    removed = await call_long(request.app[ENGINE].images.remove, _ref(request), flag(request, "force"))
    return to_json(
        [
            *({"Untagged": name} for name in removed.untagged),
            *({"Deleted": digest} for digest in removed.deleted),
        ]
    )


async def prune(request: web.Request) -> web.Response:
    removed, freed = await call_long(request.app[ENGINE].images.prune, filters(request))
    deleted = [
        entry
        for one in removed
        for entry in (*({"Untagged": name} for name in one.untagged), *({"Deleted": part} for part in one.deleted))
    ]
    return to_json({"ImagesDeleted": deleted or None, "SpaceReclaimed": freed})


async def auth(request: web.Request) -> web.Response:
    """Whether a registry takes a name and a password."""
    server, credentials = shapes.login(await request.read())
    await call_long(request.app[ENGINE].images.login, server, credentials)
    return to_json({"Status": "Login Succeeded", "IdentityToken": ""})


async def usage(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    found, of_volumes = await call_long(engine.images.usage), await call_long(volumes.usage, engine)
    of_containers = await call_long(containers.usage, engine)
    return to_json({**shapes.usage(found), "Containers": of_containers, "Volumes": of_volumes, "BuildCache": []})


def _tagged(name: str, tag: str) -> str:
    """A name with the tag or digest that came beside it."""
    if not tag:
        return name
    reference = Reference.parse(name)
    return f"{reference.familiar_repository}{'@' if tag.startswith('sha256:') else ':'}{tag}"


# --- bodies -------------------------------------------------------------------------------------


class _Body:
    """A request's body, to be read by a thread."""

    def __init__(self, request: web.Request) -> None:
        self._content = request.content
        self._loop = asyncio.get_running_loop()

    def read(self, size: int = CHUNK, /) -> bytes:
        return asyncio.run_coroutine_threadsafe(self._some(size), self._loop).result()

    async def _some(self, size: int) -> bytes:
        """As much as there is, gathered: each call from a thread costs a tenth of a millisecond."""
        pieces, left = [], size
        while left > 0:
            piece = await self._content.read(left)
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


async def _archive(request: web.Request, pieces: Iterable[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
    await response.prepare(request)
    with streaming(request):
        async for some in iterate(lambda _: pieces):
            for piece in some:
                await response.write(piece)
    await response.write_eof()
    return response


# --- progress -----------------------------------------------------------------------------------


class _Left(Exception):
    """The client has gone: nobody wants it any more."""


Work = Callable[[Tell], Any]


async def _with_progress(request: web.Request, work: Work) -> web.StreamResponse:
    """Do it, and answer with a line of JSON for each step. When the client leaves, it is stopped.

    What fails before there was anything to tell but a first word fails the request; later, the last line
    tells it.
    """
    loop, lines, left = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None](), threading.Event()

    def put(line: dict[str, Any] | None) -> None:
        with suppress(RuntimeError):  # the engine has ended
            loop.call_soon_threadsafe(lines.put_nowait, line)

    failures: list[NetmodelError] = []

    def body() -> None:
        try:
            told_of = work(_telling(put, left))
            for line in told_of if hasattr(told_of, "__next__") else ():
                put(line)
        except _Left:
            pass
        except Exception as error:
            failures.append(translate(error))
        finally:
            put(None)

    # Nobody waits for its end: it notices that it is left as soon as something comes from where it reads.
    threading.Thread(target=body, name="images", daemon=True).start()
    with streaming(request):
        try:
            return await _answer(request, lines, failures)
        finally:
            left.set()


async def _answer(
    request: web.Request, lines: asyncio.Queue[dict[str, Any] | None], failures: list[NetmodelError]
) -> web.StreamResponse:
    first, second = await _next(request, lines), None
    if first is not None:
        second = await _next(request, lines)
    if second is None and failures:
        raise failures[0]
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    write = _writer(response)
    for line in (first, second):
        if line is not None:
            await write(line)
    if second is not None:
        while (line := await _next(request, lines)) is not None:
            await write(line)
    if failures:
        answer = told(failures[0])
        detail = {**answer, "code": answer["status"]}
        await write({"errorDetail": detail, "error": answer["message"]})
    await response.write_eof()
    return response


async def _next(request: web.Request, lines: asyncio.Queue[dict[str, Any] | None]) -> dict[str, Any] | None:
    """The next line; looks now and then whether anybody still waits for it.

    Raises:
        ConnectionResetError: The client has left.
    """
    while True:
        try:
            return await asyncio.wait_for(lines.get(), _LOOK_S)
        except TimeoutError:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has left") from None


def _writer(response: web.StreamResponse) -> Callable[[dict[str, Any]], Awaitable[None]]:
    async def write(line: dict[str, Any]) -> None:
        await response.write(codec.dumps(line) + b"\r\n")

    return write


def _telling(put: Callable[[dict[str, Any]], None], left: threading.Event) -> Tell:
    """Progress in Docker's form; figures of one layer not more often than eyes can follow."""
    last: dict[str, tuple[str, float]] = {}

    def tell(*, status: str, id: str = "", current: int = 0, total: int = 0) -> None:  # noqa: A002 - Docker's word
        if left.is_set():
            raise _Left
        now = time.monotonic()
        before, when = last.get(id, ("", 0.0))
        if current and current < total and before == status and now - when < _SILENT_S:
            return
        last[id] = (status, now)
        line: dict[str, Any] = {"status": status}
        if id:
            line |= {"id": id, "progressDetail": {"current": current, "total": total} if current else {}}
        if current:
            line["progress"] = f"{current / 1e6:.4g}MB/{total / 1e6:.4g}MB"
        put(line)

    return tell


def _quiet(tell: Tell) -> Tell:
    def silent(*, status: str, id: str = "", current: int = 0, total: int = 0) -> None:  # noqa: A002
        """Only the end is told."""

    return silent


ROUTES = (
    ("GET", "/images/json", listing),
    ("POST", "/images/create", create),
    ("POST", "/images/load", load),
    ("POST", "/commit", commit),
    ("POST", "/images/prune", prune),
    ("GET", "/images/get", save),
    ("GET", "/images/{name:.+}/get", save),
    ("GET", "/images/{name:.+}/json", inspect),
    ("GET", "/images/{name:.+}/history", history),
    ("POST", "/images/{name:.+}/tag", tag),
    ("POST", "/images/{name:.+}/push", push),
    ("DELETE", "/images/{name:.+}", remove),
    ("GET", "/containers/{ref}/export", export),
    ("POST", "/auth", auth),
    ("GET", "/system/df", usage),
)
