"""An engine that runs and is measured: where it answers and what it consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.docker_api import DockerApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Args:
    column: Of the table.
    image: What it calls the bench's image.
    cli: How people call it, the socket included.
    parts: Its own processes by what they are; none of a container's.
    """

    column: str
    api: DockerApi
    socket: Path
    image: str
    cli: tuple[str, ...]
    parts: Callable[[], dict[str, list[int]]]

    def processes(self) -> list[int]:
        return sorted(pid for part in self.parts().values() for pid in part)
