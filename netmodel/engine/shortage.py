"""Containers that are out of memory: told as it happens, whether or not their first process lives on."""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from dataclasses import replace

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.model import Container
from runtime.cgroups import Cgroup
from runtime.cgroups.oom import OomWatch


class Shortage:
    """One thread waits for the groups of all that have a limit of memory; without one nobody runs out alone."""

    def __init__(self, core: Core, containers: Containers) -> None:
        self._core = core
        self._containers = containers
        self._lock = threading.Lock()
        self._watches: dict[str, OomWatch] = {}
        self._told: set[str] = set()
        self._ids: dict[int, str] = {}  # by descriptor
        self._epoll: select.epoll | None = None
        self._stop = -1
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Those that run are the next engine's to watch."""
        thread = self._thread
        if thread is None:
            return
        os.eventfd_write(self._stop, 1)
        thread.join()
        for container_id in list(self._watches):
            self.end(container_id)
        if self._epoll is not None:
            self._epoll.close()
        os.close(self._stop)
        self._thread = None

    def begin(self, container: Container, cgroup: Cgroup) -> None:
        """It runs; does nothing for one that has no limit, or is watched already."""
        if container.config.memory_bytes is None or container.id in self._watches:
            return
        with suppress(OSError):  # then it is told at its end
            watch = cgroup.watch_oom()
            if watch is None:
                return
            with self._lock:
                self._watches[container.id] = watch
                self._ids[watch.fd] = container.id
                self._start().register(watch.fd, select.EPOLLIN)
            if cgroup.oom_kills() and not container.state.oom_killed:  # before we looked
                self._tell(container.id)

    def end(self, container_id: str) -> bool:
        """It does not run any more; whether its shortage was told of."""
        with self._lock:
            told = container_id in self._told
            self._told.discard(container_id)
            watch = self._watches.pop(container_id, None)
            if watch is not None and self._epoll is not None:
                self._epoll.unregister(watch.fd)
                del self._ids[watch.fd]
                watch.close()
        return told

    def _start(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            self._stop = os.eventfd(0, os.EFD_CLOEXEC)
            self._epoll.register(self._stop, select.EPOLLIN)
            self._thread = threading.Thread(target=self._run, args=(self._epoll,), name="shortage", daemon=True)
            self._thread.start()
        return self._epoll

    def _run(self, epoll: select.epoll) -> None:
        while True:
            for fd, _ in epoll.poll():
                if fd == self._stop:
                    return
                with self._lock:
                    container_id = self._ids.get(fd, "")
                    watch = self._watches.get(container_id)
                    happened = watch is not None and watch.happened()
                if happened:
                    with suppress(Exception):  # it is just going
                        self._tell(container_id)

    def _tell(self, container_id: str) -> None:
        with self._lock:
            if container_id not in self._watches:
                return  # its end tells of it
            self._told.add(container_id)
        container = self._core.records.containers.get(container_id)
        if container is not None:
            self._containers.event("oom", container)
            threading.Thread(target=self._note, args=(container_id,), name="shortage-note", daemon=True).start()

    def _note(self, container_id: str) -> None:
        """Somebody who stops it may have its lock for long."""
        with self._core.locks.containers([container_id]):
            container = self._core.records.containers.get(container_id)
            if container is not None and container.state.running and not container.state.oom_killed:
                self._core.records.note(replace(container, state=replace(container.state, oom_killed=True)))
