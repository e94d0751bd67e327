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
from netmodel.engine import Event
from netmodel.engine.events import Subscription
from netmodel.errors import Invalid

_KNOWN = ("type", "event", "container", "network", "volume", "image", "label", "scope")


async def events(request: web.Request) -> web.StreamResponse:
    wanted, since, until = filters(request), moment(request, "since"), moment(request, "until")
    if unknown := [name for name in wanted if name not in _KNOWN]:
        raise Invalid(f"filter {unknown[0]!r} is not known", f"one of {', '.join(_KNOWN)}")
    subscription, woken = watch(request.app[ENGINE])
    try:
        # The head goes out once the subscription stands: what happens after it is in the answer.
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with streaming(request):
            past = [event for event in request.app[ENGINE].events.history() if since and event.time >= since]
            async for event in _between(past, subscription, woken, until):
                if _matches(event, wanted):
                    await response.write(msgspec.json.encode(shape(event)) + b"\n")
    finally:
        subscription.close()
    await response.write_eof()
    return response


async def _between(
    past: Sequence[Event], subscription: Subscription, woken: asyncio.Event, until: datetime | None
) -> AsyncIterator[Event]:
    for event in past:
        if until is None or event.time <= until:
            yield event
    while until is None or datetime.now(UTC) < until:
        try:
            event = subscription.get_nowait()
        except queue.Empty:
            if subscription.closed or not await _woken(woken, until):
                return
            continue
        if event not in past:  # published between subscribe() and history()
            yield event


async def _woken(woken: asyncio.Event, until: datetime | None) -> bool:
    left_s = (until - datetime.now(UTC)).total_seconds() if until else None
    try:
        await asyncio.wait_for(woken.wait(), left_s)
    except TimeoutError:
        return False
    woken.clear()
    return True


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
