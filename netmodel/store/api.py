"""The store's contract: records in, records out, several changes in one commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from netmodel.model import Container, Endpoint, Network, Volume

Record = Network | Endpoint | Container | Volume
R = TypeVar("R", Network, Endpoint, Container, Volume)


def key_of(record: Record) -> str:
    """What a record is stored under: its id; a volume's name, for a volume has no other id."""
    return record.name if isinstance(record, Volume) else record.id


class Store(Protocol):
    """Keeps records over the engine's death. Safe to call from several threads."""

    def write(
        self, put: Iterable[Record] = (), delete: Iterable[Record] = (), meta: Mapping[str, str | None] | None = None
    ) -> None:
        """Make all these changes in one commit, or none of them.

        Args:
            put: Records to add, or to replace by id.
            delete: Records to forget; one that is not there is no error.
            meta: Values to set; None removes one.
        """

    def list(self, kind: type[R]) -> list[R]:
        """All records of a kind, in the order they were first put."""

    def get(self, kind: type[R], key: str) -> R | None:
        """One record by its id, or a volume by its name."""

    def meta(self, prefix: str = "") -> dict[str, str]:
        """The values whose keys begin so, sorted by key."""

    def close(self) -> None: ...
