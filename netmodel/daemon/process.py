"""The engine's process: from the first check to the last descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import resource
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from netmodel.client.address import socket_path
from netmodel.daemon.listener import Listener
from netmodel.engine import Engine
from netmodel.engine.settings import Settings, settings_of
from netmodel.errors import Forbidden, Invalid, exit_code, translate

log = logging.getLogger("netmodel")
_SERVER = "netmodel.daemon.server"


def run(
    root: str,
    host: str,
    tell: Callable[[str], None],
    default_address_pools: Sequence[str] = (),
    said: Mapping[str, Any] | None = None,
) -> int:
    """Be the engine until SIGTERM or SIGINT; returns the exit code.

    Args:
        said: Further settings by their keys in engine.json; each goes before what stands there.
        default_address_pools: "base=10.200.0.0/16,size=24"; none takes those of engine.json under the root.
        tell: Called once: "ready", or "error: ..." with a hint on a line of its own.
    """
    told = False

    def tell_ready() -> None:
        nonlocal told
        told = True
        tell("ready")

    try:
        with contextlib.ExitStack() as undo:
            if os.geteuid() != 0:
                raise Forbidden("netmodel must run as root", "run the same command with sudo")
            _raise_limit_of_files()
            listener = Listener(Path(_host(host)))
            undo.callback(listener.close)
            engine = Engine(Path(os.path.realpath(root)), _settings(default_address_pools, said or {}))
            # Opening the engine mostly waits for the processes it starts: time to load the web server.
            loading = threading.Thread(target=_load_server, name="loading")
            loading.start()
            undo.callback(loading.join)
            engine.open()
            undo.callback(engine.close)
            loading.join()
            from netmodel.daemon.server import serve

            # What is here now stays; each full collection would go through all of it, for 30 ms.
            gc.freeze()
            gc.enable()
            asyncio.run(serve(engine, listener, tell_ready))
    except Exception as error:
        return _failed(error, log.error if told else tell)
    log.info("stopped; containers run on")
    return 0


def _load_server() -> None:
    # aiohttp's client, which nobody uses here, would read the machine's certificate authorities as it loads: 50 ms.
    ssl.SSLContext.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        importlib.import_module(_SERVER)
    finally:
        del ssl.SSLContext.set_default_verify_paths  # its base class has it, too


def _failed(error: Exception, tell: Callable[[str], None]) -> int:
    what = translate(error)
    if what.kind == "internal":
        log.error("the engine failed", exc_info=error)
    tell(f"error: {what.message}" + (f"\nhint: {what.hint}" if what.hint else ""))
    return exit_code(what.kind)


def _settings(default_address_pools: Sequence[str], said: Mapping[str, Any]) -> Settings:
    settings = settings_of(said, "--")
    if not default_address_pools:
        return settings
    from ipam.parse import parse_default_pool  # netaddr, which an engine without such an option never loads

    return replace(settings, default_address_pools=tuple(map(parse_default_pool, default_address_pools)))


def _host(host: str) -> str:
    try:
        return socket_path(host)
    except ValueError as error:
        raise Invalid(str(error)) from error


def _raise_limit_of_files() -> None:
    """A thousand containers take some thousand descriptors: DNS sockets, pins, logs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def set_up_log() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
