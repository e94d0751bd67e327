"""What a container wrote, from the file that the spawner keeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from netmodel.engine.containers import Containers
from netmodel.engine.lifecycle import Lifecycle


class Logs:
    def __init__(self, containers: Containers, lifecycle: Lifecycle) -> None:
        self._containers = containers
        self._lifecycle = lifecycle

    def read(
        self,
        ref: str,
        follow: bool,
        tail: int | None,
        since: datetime | None,
        until: datetime | None,
        streams: Sequence[str],
        stop: threading.Event | None,
    ) -> Iterator[Any]:
        """Entries, oldest first; with follow until the container ends or stop is set."""
        import runtime.logs

        container = self._containers.find(ref)
        path = self._containers.files(container.id).log
        return runtime.logs.read(path, tail=tail, since=since, until=until, streams=streams)
