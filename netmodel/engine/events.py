"""The engine's events: published once, seen by whoever subscribed before; the latest are kept."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from netmodel.engine.eventlog import EventLog
from netmodel.engine.values import Event

_HISTORY = 1000  # for "events --since"
_BACKLOG = 10_000  # a subscriber that falls further behind than this loses the oldest


class Subscription:
    """The events from now on, in order. Close it when done."""

    def __init__(self, close: Callable[[Subscription], None], wake: Callable[[], None] | None) -> None:
        self._close = close
        self._wake = wake
        self._events: deque[Event] = deque(maxlen=_BACKLOG)
        self._ready = threading.Condition()
        self.closed = False

    def put(self, event: Event) -> None:
        with self._ready:
            self._events.append(event)
            self._ready.notify()
        if self._wake is not None:
            self._wake()

    def get(self, timeout_s: float | None = None) -> Event:
        """The next event.

        Raises:
            queue.Empty: None came in time, or the subscription was closed.
        """
        with self._ready:
            if not self._ready.wait_for(lambda: self._events or self.closed, timeout_s) or not self._events:
                raise queue.Empty
            return self._events.popleft()

    def get_nowait(self) -> Event:
        return self.get(0)

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                yield self.get()
            except queue.Empty:
                return

    def close(self) -> None:
        with self._ready:
            self.closed = True
            self._ready.notify_all()
        self._close(self)


class EventBus:
    """Hands every event to every subscriber; a slow one holds up nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[Subscription] = []
        self._history: deque[Event] = deque(maxlen=_HISTORY)
        self._log: EventLog | None = None

    def keep_in(self, file: Path) -> None:
        """Go on where an earlier engine ended, and let a later one do so."""
        log = EventLog(file, _HISTORY)
        with self._lock:
            self._log = log
            self._history.extend(log.events())

    def subscribe(self, wake: Callable[[], None] | None = None) -> Subscription:
        """Receive the events from now on.

        Args:
            wake: Called after each event, from the thread that caused it; must not block. It lets an
                asyncio loop wait (loop.call_soon_threadsafe) instead of holding a thread.
        """
        subscription = Subscription(self._unsubscribe, wake)
        with self._lock:
            self._subscribers.append(subscription)
        return subscription

    def history(self) -> list[Event]:
        """The latest thousand, oldest first; also those of an earlier engine."""
        with self._lock:
            return list(self._history)

    def publish(self, kind: str, action: str, object_id: str, attributes: Mapping[str, str]) -> None:
        event = Event(type=kind, action=action, id=object_id, attributes=attributes, time=datetime.now(UTC))
        with self._lock:
            self._history.append(event)
            if self._log is not None:
                self._log.append(event)
            subscribers = tuple(self._subscribers)
        for subscription in subscribers:
            subscription.put(event)

    def close(self) -> None:
        """End every subscription."""
        with self._lock:
            subscribers = tuple(self._subscribers)
            log, self._log = self._log, None
        if log is not None:
            log.close()
        for subscription in subscribers:
            subscription.close()

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscribers:
                self._subscribers.remove(subscription)
