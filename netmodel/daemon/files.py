"""Files of a container over HTTP: copies in and out as tar streams, what has changed; and its processes."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from contextlib import aclosing, suppress

import msgspec
from aiohttp import web

from netmodel.daemon.answers import nothing, streaming, to_json
from netmodel.daemon.calls import ENGINE, call, call_long, iterate
from netmodel.daemon.query import flag
from netmodel.daemon.wire.encode import moment
from netmodel.errors import Invalid
from runtime.archive import PathStat

_KINDS = {"changed": 0, "added": 1, "deleted": 2}
_STAT = "X-Docker-Container-Path-Stat"
# Go's os.FileMode: types of files are high bits of its own.
_GO_BITS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_SPECIAL = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def _ref(request: web.Request) -> str:
    return request.match_info["ref"].removeprefix("/")


def _path(request: web.Request) -> str:
    path = request.query.get("path", "")
    if not path:
        raise Invalid("no path is given", "name a file or a directory of the container: path=")
    return path


async def look(request: web.Request) -> web.Response:
    found = await call(request, request.app[ENGINE].stat_path, _ref(request), _path(request))
    return web.Response(headers={_STAT: _stat_header(found)})


async def read(request: web.Request) -> web.StreamResponse:
    engine, ref, path = request.app[ENGINE], _ref(request), _path(request)
    found = await call(request, engine.stat_path, ref, path)
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar", _STAT: _stat_header(found)})
    await response.prepare(request)
    with streaming(request):
        async with aclosing(iterate(lambda _: engine.copy_out(ref, path))) as pieces:
            async for some in pieces:
                await response.write(b"".join(some))
    await response.write_eof()
    return response


async def write(request: web.Request) -> web.Response:
    engine, ref, path = request.app[ENGINE], _ref(request), _path(request)
    source, sink = os.pipe2(os.O_CLOEXEC)

    def copy() -> None:
        try:
            engine.copy_in(
                ref,
                path,
                source,
                keep_owners=flag(request, "copyUIDGID"),
                replace_kinds=not flag(request, "noOverwriteDirNonDir"),
            )
        finally:
            os.close(source)

    copying = asyncio.ensure_future(call_long(copy))
    try:
        with suppress(BrokenPipeError):  # it has had enough: what it says counts
            async for piece in request.content.iter_chunked(65536):
                await call(request, _write_all, sink, piece)
    finally:
        os.close(sink)
    await copying
    return nothing(200)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _stat_header(found: PathStat) -> str:
    mode = stat.S_IMODE(found.mode) & 0o777 | _GO_BITS.get(stat.S_IFMT(found.mode), 0)
    for bit, theirs in _GO_SPECIAL:
        mode |= theirs if found.mode & bit else 0
    value = {
        "name": found.name,
        "size": found.size,
        "mode": mode,
        "mtime": moment(found.modified_at),
        "linkTarget": found.link,
    }
    return base64.b64encode(msgspec.json.encode(value)).decode()


async def changes(request: web.Request) -> web.Response:
    found = await call(request, request.app[ENGINE].changes, _ref(request))
    return to_json([{"Kind": _KINDS[one.kind], "Path": one.path} for one in found] or None)


async def top(request: web.Request) -> web.Response:
    found = await call(request, request.app[ENGINE].top, _ref(request), request.query.get("ps_args", ""))
    return to_json({"Titles": found.titles, "Processes": found.rows})


ROUTES = (
    ("HEAD", "/containers/{ref}/archive", look),
    ("GET", "/containers/{ref}/archive", read),
    ("PUT", "/containers/{ref}/archive", write),
    ("GET", "/containers/{ref}/changes", changes),
    ("GET", "/containers/{ref}/top", top),
)
