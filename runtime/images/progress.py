"""How a pull, a push or a load gets on, told as it happens."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Called from several threads at once; raising stops the work.

    Args:
        status: Docker's words: "Pulling fs layer", "Downloading", "Download complete", "Pull complete", ...
        id: Which layer, by the first twelve digits of its digest; "" is the whole.
        total: 0 while it is not known.
    """

    def __call__(self, *, status: str, id: str = "", current: int = 0, total: int = 0) -> None: ...  # noqa: A002


def Silent(*, status: str, id: str = "", current: int = 0, total: int = 0) -> None:  # noqa: A002, N802
    """Nobody wants to know."""
