"""The far end of engine_process.py: a zygote, and the engines that are forked from it. Its argument is a socket."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from netmodel.engine.engine import Engine
from netmodel.errors import NetmodelError
from tests.netmodel.engine.engine_process import Report, receive, send
from tests.netmodel.engine.fuse import FINER, STEPS, Fuse
from tests.support.box import Box


class Server:
    """Answers one EngineProcess, until it hangs up."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._fuse = Fuse()
        self._engine: Engine | None = None

    def serve(self) -> None:
        for steps, finer in ((STEPS, False), (FINER, True)):
            for owner, name in steps:
                self._fuse.wrap(owner, name, finer)
        while (question := receive(self._asked)) is not None:
            verb, args, kwargs, fuse, finer = question
            self._fuse.count, self._fuse.at, self._fuse.finer, self._fuse.lit = 0, fuse, finer, fuse > 0
            send(self._asked, self._answer(verb, args, kwargs))

    def _answer(self, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any]:
        act = getattr(self, f"_{verb}", None) or getattr(self._engine, verb)
        try:
            return "", act(*args, **kwargs)
        except NetmodelError as error:
            if error.kind == "internal":
                return "bug", traceback.format_exc()
            return error.kind, error.message
        except Exception:
            return "bug", traceback.format_exc()
        finally:
            self._fuse.lit = False

    def _open(self, root: Path, host: Path) -> None:
        Box.at("host", host).setns()
        self._engine = Engine(root)
        self._engine.open()

    def _report(self) -> Report:
        engine = self._engine
        assert engine is not None
        networks, containers = tuple(engine.networks()), tuple(engine.containers())
        paths = {one.id: engine.sandbox_path(one.id) for one in containers if one.sandbox == one.id}
        return Report(
            networks=networks,
            containers=containers,
            endpoints=tuple(engine.endpoints()),
            usage={one.id: tuple(usage for _, usage in engine.usage(one.id)) for one in networks},
            sandboxes={container: path for container, path in paths.items() if path is not None},
            warnings=tuple(engine._warnings),
        )

    def _drain(self) -> None:
        """Have links that were retired deleted now."""
        assert self._engine is not None
        self._engine._core.reaper.drain()

    def _settled(self, name: str) -> bool:
        """Whether a container has ended, with all that follows from that."""
        assert self._engine is not None
        container = self._engine.container(name)
        with self._engine._core.locks.containers([container.id]):
            return not self._engine.container(name).state.running

    def _spawner(self) -> int:
        assert self._engine is not None
        return self._engine.spawner_pid


def _main() -> None:
    told = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who asked for a process watches it
    while True:
        message, descriptors, _, _ = socket.recv_fds(told, 16, 1)
        if not message:
            return
        asked = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            told.close()
            Server(asked).serve()
            os._exit(0)
        asked.close()
        told.send(str(pid).encode())


if __name__ == "__main__":
    _main()
