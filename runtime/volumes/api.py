"""What a volume driver does: names become directories that containers mount."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from runtime.images.image import Image
from runtime.spec import BindMount


class Driver(Protocol):
    """Keeps volumes under names that the caller has unique. It knows neither who uses them nor their labels."""

    @property
    def name(self) -> str:
        """By which a volume names its driver."""

    def create(self, name: str = "", options: Mapping[str, str] | None = None) -> str:
        """Make a volume, or take the one that is there as it is if it has the same options."""

    def path(self, name: str) -> Path:
        """The directory whose content the volume is."""

    def mount(self, name: str, user: str, target: str, *, read_only: bool = False, subpath: str = "") -> BindMount:
        """How a container gets it, or a part of it, ready to be mounted until unmount() by the same user."""

    def unmount(self, name: str, user: str) -> None:
        """A user needs it no more; what was mounted for the last one is unmounted. One unheard of is no error."""

    def adopt(self, name: str, user: str) -> None:
        """A user has it since before this process was there."""

    def settle(self) -> None:
        """Unmount what nobody has, once all that have one are adopted."""

    def populate(self, name: str, image: Image, target: str) -> bool:
        """Give an empty volume what the image has at the place where it will be mounted."""

    def remove(self, name: str) -> None:
        """Delete it with its content; one that is gone is no error."""

    def list(self) -> tuple[str, ...]:
        """The names of all."""

    def usage(self, name: str) -> int:
        """Bytes that its content takes on the disk."""

    def drain(self) -> None:
        """Wait until what was removed has left the disk."""
