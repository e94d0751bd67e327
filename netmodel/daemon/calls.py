"""Calling the synchronous engine from the event loop."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from aiohttp import web

from netmodel.engine import Engine
from netmodel.engine.events import Subscription
from runtime.logs import StopSignal

P = ParamSpec("P")
T = TypeVar("T")

ENGINE = web.AppKey("engine", Engine)
POOL = web.AppKey("pool", ThreadPoolExecutor)
_BACKLOG = 4096


async def call(request: web.Request, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that ends soon in the pool that all requests share."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(request.app[POOL], lambda: function(*args, **kwargs))


async def call_long(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call that may take long in a thread of its own, so that it keeps none of the pool's from others."""
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    # Not threading.Thread, whose start() would hold up the loop until the thread has had its turn.
    _thread.start_new_thread(body, ())
    return await asyncio.wrap_future(future)


def watch(engine: Engine) -> tuple[Subscription, asyncio.Event]:
    """Subscribe to the engine's events; the second value is set whenever there is one to get."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the engine
            loop.call_soon_threadsafe(woken.set)

    return engine.events.subscribe(wake), woken


async def iterate(produce: Callable[[StopSignal], Iterable[T]]) -> AsyncGenerator[list[T], None]:
    """Iterate, in a thread of its own, over what may block; yields what came since the last time.

    Args:
        produce: Called in the thread; its signal is set when nobody listens any more.
    """
    loop = asyncio.get_running_loop()
    stop, room, filled = StopSignal(), threading.Event(), asyncio.Event()
    items: list[T] = []
    lock = threading.Lock()
    outcome: Future[None] = Future()
    room.set()

    def put(item: T) -> None:
        with lock:
            items.append(item)
            first, full = len(items) == 1, len(items) >= _BACKLOG
            if full:
                room.clear()
        if first:
            loop.call_soon_threadsafe(filled.set)
        if full:
            room.wait()

    def body() -> None:
        try:
            for item in produce(stop):
                put(item)
                if stop.is_set():
                    break
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        if not loop.is_closed():
            loop.call_soon_threadsafe(filled.set)

    threading.Thread(target=body, name="iterate", daemon=True).start()
    try:
        while True:
            await filled.wait()
            filled.clear()
            over = outcome.done()  # looked at first: whatever was put before is in items then
            with lock:
                taken, items[:] = items[:], []
                room.set()
            if taken:
                yield taken
            if over:
                outcome.result()
                return
    finally:
        stop.set()
        room.set()
        outcome.add_done_callback(lambda _: stop.close())  # not before the thread has ended
