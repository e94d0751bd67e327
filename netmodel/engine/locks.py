"""Who may change what at the same time.

One lock a container; one a network, shared by those who put endpoints on it and held alone by
who makes or removes it. The order that rules out a deadlock: containers first (by id), then
networks (by id). Nobody who holds a network's lock asks for a container's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager


class SharedLock:
    """Held by many at once, or by one alone. Who waits to be alone goes before those who come to share."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._alone and not self._sharing)
            self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


class Locks:
    """The locks by id. One is forgotten with its object, never before."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._containers: dict[str, threading.RLock] = {}
        self._networks: dict[str, SharedLock] = {}

    @contextmanager
    def containers(self, ids: Iterable[str]) -> Iterator[None]:
        """Hold these containers."""
        with self._guard:
            locks = [self._containers.setdefault(key, threading.RLock()) for key in sorted(set(ids))]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            yield

    def is_held(self, container_id: str) -> bool:
        """Whether somebody else is at work on a container."""
        lock = self._containers.get(container_id)
        if lock is None or not lock.acquire(blocking=False):
            return lock is not None
        lock.release()
        return False

    @contextmanager
    def sharing(self, ids: Iterable[str]) -> Iterator[None]:
        """Keep these networks from being removed while endpoints are put on them."""
        with self._guard:
            locks = [self._networks.setdefault(key, SharedLock()) for key in sorted(set(ids))]
        with ExitStack() as held:
            for lock in locks:
                held.enter_context(lock.shared())
            yield

    @contextmanager
    def alone(self, network_id: str) -> Iterator[None]:
        """Have a network to oneself, to make or remove it."""
        with self._guard:
            lock = self._networks.setdefault(network_id, SharedLock())
        with lock.alone():
            yield

    def forget(self, object_id: str) -> None:
        """Drop the lock of a removed object. Who waits for it still gets it, and finds the object gone."""
        with self._guard:
            self._containers.pop(object_id, None)
            self._networks.pop(object_id, None)
