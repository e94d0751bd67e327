"""The web server, from the socket to the last answer. Importing this loads aiohttp, a third of a start."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from aiohttp import web

from netmodel import __version__
from netmodel.daemon.app import application
from netmodel.daemon.listener import Listener
from netmodel.engine import Engine

log = logging.getLogger("netmodel")
_GRACE_S = 3.0  # for requests in flight when the engine ends


async def serve(engine: Engine, listener: Listener, tell_ready: Callable[[], None]) -> None:
    """Answer requests until a signal or a client says stop."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    app = application(engine, str(listener.path), stopping.set)
    # A handler whose client has left is cancelled, so that streams end; what it called in a thread goes on.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_GRACE_S)
    await runner.setup()
    await web.SockSite(runner, listener.socket).start()
    log.info("engine %s: root %s, socket %s, process %d", __version__, engine.root, listener.path, os.getpid())
    tell_ready()
    await stopping.wait()
    log.info("stopping")
    engine.events.close()
    await runner.cleanup()
