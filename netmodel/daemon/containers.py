"""Containers over HTTP; what they print and read is the business of output.py."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiohttp import web

from netmodel.daemon.answers import nothing, streaming, to_json
from netmodel.daemon.calls import ENGINE, call, call_long
from netmodel.daemon.query import filters, flag, number
from netmodel.daemon.wire import container as shapes
from netmodel.daemon.wire.create import read_create
from netmodel.daemon.wire.update import read_update
from netmodel.engine import Engine
from netmodel.engine.apparmor import label_of
from netmodel.engine.engine import WaitCondition
from netmodel.errors import Invalid, NetmodelError, NotFound, StartRefused
from netmodel.model import Container, ContainerConfig, Endpoint
from runtime.images.errors import ImageNotFound


def _ref(request: web.Request) -> str:
    return request.match_info["ref"].removeprefix("/")


async def listing(request: web.Request) -> web.Response:
    wanted, limit = filters(request), max(number(request, "limit") or 0, 0)  # Docker's SDK says -1 for all
    every = flag(request, "all") or "status" in wanted or bool(limit)
    if flag(request, "size"):
        return to_json(await call_long(_listing, request.app[ENGINE], every, wanted, limit, True))
    return to_json(await call(request, _listing, request.app[ENGINE], every, wanted, limit))


def usage(engine: Engine) -> list[dict[str, Any]]:
    """All of them with what they take, for `GET /system/df`."""
    return _listing(engine, True, {}, 0, True)


def _listing(engine: Engine, every: bool, wanted: Any, limit: int, sized: bool = False) -> list[dict[str, Any]]:
    found = engine.containers(all=every, filters=wanted)[: limit or None]
    networks = {network.id: network for network in engine.networks()}
    endpoints: dict[str, list[Endpoint]] = {}
    for endpoint in engine.endpoints():
        endpoints.setdefault(endpoint.container_id, []).append(endpoint)
    answer = []
    for container in found:
        argv, image_id = _argv(engine, container)
        seen = shapes.Seen(
            container=container,
            endpoints=endpoints.get(container.id, ()),
            networks=networks,
            argv=argv,
            image_id=image_id,
            published=engine.published(container),
        )
        answer.append({**shapes.line(seen), **(_sizes(engine, container) if sized else {})})
    return answer


def _sizes(engine: Engine, container: Container) -> dict[str, int]:
    written, whole = engine.container_sizes(container.id)
    return {"SizeRw": written, "SizeRootFs": whole}


async def inspect(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    seen = await call(request, see, engine, _ref(request))
    sizes = await call_long(_sizes, engine, seen.container) if flag(request, "size") else {}
    return to_json({**shapes.inspect(seen), **sizes})


def see(engine: Engine, ref: str) -> shapes.Seen:
    """Gather all that is told of one container."""
    container = engine.container(ref)
    argv, image_id = _argv(engine, container)
    names = [mount.source for mount in container.config.mounts if mount.type == "volume" and mount.source]
    return shapes.Seen(
        container=container,
        endpoints=engine.endpoints(container_id=container.id),
        networks={network.id: network for network in engine.networks()},
        argv=argv,
        image_id=image_id,
        netns=engine.sandbox_path(container.id),
        published=engine.published(container),
        hostname=engine.hostname_of(container),
        exposures=engine.exposures(container.id) if container.state.running else (),
        health=engine.health(container.id),
        files=engine.files_of(container.id),
        execs=engine.running_execs(container.id),
        log=engine.log_path(container.id) if container.config.log.driver == "json-file" else None,
        volume_paths={name: engine.volume_path(name) for name in names},
        apparmor=label_of(container.state.pid) if container.state.running else "",
        links=engine.links(container.id),
    )


async def create(request: web.Request) -> web.Response:
    config, warnings = read_create(await request.read())
    platform = request.query.get("platform", "")
    if platform and not platform.startswith("linux"):
        raise Invalid(f"platform {platform!r} is not supported", "leave it out")
    try:
        made, advice = await call(
            request, _create, request.app[ENGINE], config, request.query.get("name", ""), platform
        )
    except NetmodelError as error:
        if error.kind == "not_found" and not isinstance(error.__cause__, ImageNotFound):
            # To Docker's command line "not found" is the image, which it would pull, and tell of that instead.
            raise Invalid(error.message, error.hint) from error
        raise
    return to_json({"Id": made.id, "Warnings": [*warnings, *advice]}, 201)


def _create(engine: Engine, config: ContainerConfig, name: str, platform: str) -> tuple[Container, list[str]]:
    if platform:
        engine.images.check_platform(config.image, platform)
    made = engine.create_container(config, name)
    return made, engine.remarks(made)


async def start(request: web.Request) -> web.Response:
    # A DHCP server may have to be waited for.
    await call_long(_start, request.app[ENGINE], _ref(request))
    return nothing()


def _start(engine: Engine, ref: str) -> None:
    try:
        engine.start(ref)
    except StartRefused:
        container = engine.container(ref)
        if container.config.auto_remove:
            # It never ran, so it never ends: whoever waits for its removal would wait for ever.
            engine.remove(container.id, force=True)
        raise


async def stop(request: web.Request) -> web.Response:
    # It may wait for as long as the program takes.
    await call_long(request.app[ENGINE].stop, _ref(request), number(request, "t"), request.query.get("signal", ""))
    return nothing()


async def restart(request: web.Request) -> web.Response:
    signal = request.query.get("signal", "")
    await call_long(request.app[ENGINE].restart, _ref(request), number(request, "t"), signal)
    return nothing()


async def kill(request: web.Request) -> web.Response:
    await call(request, request.app[ENGINE].kill, _ref(request), request.query.get("signal") or "SIGKILL")
    return nothing()


async def update(request: web.Request) -> web.Response:
    await call(request, request.app[ENGINE].update, _ref(request), read_update(await request.read()))
    return to_json({"Warnings": []})


async def pause(request: web.Request) -> web.Response:
    await call(request, request.app[ENGINE].pause, _ref(request))
    return nothing()


async def unpause(request: web.Request) -> web.Response:
    await call(request, request.app[ENGINE].unpause, _ref(request))
    return nothing()


async def rename(request: web.Request) -> web.Response:
    await call(request, request.app[ENGINE].rename, _ref(request), request.query.get("name", "").removeprefix("/"))
    return nothing()


async def remove(request: web.Request) -> web.Response:
    engine = request.app[ENGINE]
    alias = request.match_info.get("alias", "")
    if flag(request, "link"):
        await call(request, engine.unlink, _ref(request), alias)
        return nothing()
    if alias:
        raise NotFound(f"no such container: {_ref(request)}/{alias}", "a link is removed with link=true (rm --link)")
    await call_long(engine.remove, _ref(request), force=flag(request, "force"), volumes=flag(request, "v"))
    return nothing()


async def wait(request: web.Request) -> web.StreamResponse:
    condition = request.query.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise Invalid(f"condition {condition!r} is not known", "one of not-running, next-exit, removed")
    exited = await call(request, request.app[ENGINE].wait, _ref(request), cast(WaitCondition, condition))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    # The head goes out now: the docker CLI starts the container only after it has seen it.
    await response.prepare(request)
    with streaming(request):
        try:
            # Shielded: the engine still completes its future when this client goes away.
            code = await asyncio.shield(asyncio.wrap_future(exited))
            answer: dict[str, Any] = {"StatusCode": code}
        except NetmodelError as error:
            answer = {"StatusCode": -1, "Error": {"Message": error.message}}
    await response.write(to_json(answer).body)  # type: ignore[arg-type]
    await response.write_eof()
    return response


async def prune(request: web.Request) -> web.Response:
    return to_json(await call_long(_prune, request.app[ENGINE], filters(request)))


def _prune(engine: Engine, wanted: Any) -> dict[str, Any]:
    removed, freed = engine.prune_containers(wanted)
    return {"ContainersDeleted": removed, "SpaceReclaimed": freed}


def _argv(engine: Engine, container: Container) -> tuple[tuple[str, ...], str]:
    """The whole command line and the image's id; an image that has vanished leaves what the config says."""
    config = container.config
    try:
        image = engine.image_of(container.id)
    except NetmodelError:
        return (config.entrypoint or ()) + (config.command or ()), ""
    entrypoint = config.entrypoint if config.entrypoint is not None else tuple(image.config.entrypoint or ())
    # As Docker: an entrypoint of one's own does away with the image's command.
    default = () if config.entrypoint is not None else tuple(image.config.cmd or ())
    return entrypoint + (config.command if config.command is not None else default), image.id


ROUTES = (
    ("GET", "/containers/json", listing),
    ("POST", "/containers/create", create),
    ("POST", "/containers/prune", prune),
    ("GET", "/containers/{ref}/json", inspect),
    ("POST", "/containers/{ref}/start", start),
    ("POST", "/containers/{ref}/stop", stop),
    ("POST", "/containers/{ref}/restart", restart),
    ("POST", "/containers/{ref}/kill", kill),
    ("POST", "/containers/{ref}/update", update),
    ("POST", "/containers/{ref}/pause", pause),
    ("POST", "/containers/{ref}/unpause", unpause),
    ("POST", "/containers/{ref}/rename", rename),
    ("POST", "/containers/{ref}/wait", wait),
    ("DELETE", "/containers/{ref}", remove),
    ("DELETE", "/containers/{ref}/{alias}", remove),
)
