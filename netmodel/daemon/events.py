"""The stream of events."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from netmodel.daemon.answers import streaming
from netmodel.daemon.calls import ENGINE, watch
from netmodel.daemon.query import filters, moment
from netmodel.daemon.wire.event import shape
from netmodel.engine import Engine, Event
from netmodel.errors import Invalid

_KNOWN = ("type", "event", "container", "network", "volume", "image", "label", "scope")


async def events(request: web.Request) -> web.StreamResponse:
    wanted, since, until = filters(request), moment(request, "since"), moment(request, "until")
    if unknown := [name for name in wanted if name not in _KNOWN]:
        raise Invalid(f"filter {unknown[0]!r} is not known", f"one of {', '.join(_KNOWN)}")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    with streaming(request):
        async for event in _between(request.app[ENGINE], since, until):
            if _matches(event, wanted):
                await response.write(msgspec.json.encode(shape(event)) + b"\n")
    await response.write_eof()
    return response


async def _between(engine: Engine, since: datetime | None, until: datetime | None) -> AsyncIterator[Event]:
    subscription, woken = watch(engine)
    past = [event for event in engine.events.history() if since and event.time >= since]
    try:
        for event in past:
            if until is None or event.time <= until:
                yield event
        while until is None or datetime.now(UTC) < until:
            try:
                event = subscription.get_nowait()
            except queue.Empty:
                if subscription.closed:
                    return
                left_s = (until - datetime.now(UTC)).total_seconds() if until else None
                try:
                    await asyncio.wait_for(woken.wait(), left_s)
                except TimeoutError:
                    return
                woken.clear()
                continue
            if event not in past:  # published between subscribe() and history()
                yield event
    finally:
        subscription.close()


def _matches(event: Event, wanted: Mapping[str, Sequence[str]]) -> bool:
    return all(any(_is(event, name, value) for value in values) for name, values in wanted.items() if values)


def _is(event: Event, name: str, value: str) -> bool:
    attributes = event.attributes
    if name == "type":
        return event.type == value
    if name == "event":
        return event.action == value or event.action.startswith(value + ":")
    if name == "scope":
        return value == "local"
    if name == "image":
        return attributes.get("image") == value
    if name == "label":
        key, equals, text = value.partition("=")
        return key in attributes and (not equals or attributes[key] == text)
    if name == event.type:
        return value == attributes.get("name") or event.id.startswith(value)
    # A network's events name the container, too.
    return bool(attributes.get(name)) and attributes[name].startswith(value)


ROUTES = (("GET", "/events", events),)
