"""What every graph driver does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from runtime.images.archive import Unpacked
from runtime.images.stream import Limits, Source


class GraphDriver(Protocol):
    name: str

    def apply(self, place: int, below: Sequence[Path], archive: Source, name: str, limits: Limits) -> Unpacked:
        """Unpack a layer's archive.

        Args:
            place: A descriptor of the layer's own directory, empty.
            below: The directories of the layers under it, the lowest first; never written to.
            name: For messages.

        Raises:
            What unpack() raises; the caller removes the directory then.
        """

    def stack(self, layers: Sequence[Path]) -> tuple[str, ...]:
        """What a container mounts as read-only layers, the topmost first.

        Args:
            layers: All directories of an image, the lowest first.
        """
