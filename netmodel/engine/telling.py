"""Progress of an up or a down, told in order though several threads work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from netmodel.engine.values import Progress
from netmodel.errors import NetmodelError, StartRefused, translate

Tell = Callable[[Progress], None]


class Telling:
    """Progress, told in order though several threads work."""

    def __init__(self, tell: Tell | None, total: int) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    @contextmanager
    def step(self, action: str, kind: str, name: str, reason: str = "") -> Iterator[None]:
        begun = time.monotonic()
        self._say(action, kind, name, "started", reason, begun)
        try:
            yield
        except Exception as error:
            self._say(action, kind, name, "failed", str(error), begun)
            raise _named(kind, name, error) from error
        self._say(action, kind, name, "done", reason, begun)

    def _say(
        self, action: str, kind: str, name: str, state: Literal["started", "done", "failed"], detail: str, begun: float
    ) -> None:
        with self._lock:
            self._done += state != "started"
            if self._tell is not None:
                took_s = time.monotonic() - begun
                self._tell(
                    Progress(
                        action=action,
                        kind=kind,
                        name=name,
                        state=state,
                        detail=detail,
                        took_s=took_s,
                        done=self._done,
                        total=self._total,
                    )
                )


def _named(kind: str, name: str, error: Exception) -> NetmodelError:
    """The same failure, told with what it happened to: of many containers, which."""
    what = translate(error)
    if name in what.message:
        return what
    message = f"{kind} {name}: {what.message}"
    if isinstance(what, StartRefused):
        return StartRefused(message, what.code, what.hint)
    return NetmodelError(message, what.hint, what.kind)
