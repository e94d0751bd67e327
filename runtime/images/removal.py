"""Taking images away: a name, an image with its last name, and of its parts those that no other image needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtime.images.blobs import Blobs
from runtime.images.catalog import Catalog, ImageRecord
from runtime.images.layers import Layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Args:
    untagged: Names that are gone.
    deleted: The image's id, then the digests of its layers, the topmost first, as far as they left the disk.
    """

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


class Removal:
    def __init__(self, catalog: Catalog, blobs: Blobs, layers: Layers) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers
        self._lock = threading.Lock()
        self._workers = 0
        self._candidates: tuple[set[str], set[str]] = (set(), set())  # chains, blobs

    @contextmanager
    def working(self) -> Iterator[None]:
        """While images are being added nothing is deleted: what no image needs now may be what a new one found."""
        with self._lock:
            self._workers += 1
        try:
            yield
        finally:
            with self._lock:
                self._workers -= 1
            self._collect()

    def remove(self, record: ImageRecord, name: str, *, keep: bool) -> Removed:
        """Take away one name, or all if name is none of the image's; with the last tag its image.

        Args:
            keep: The names only.
        """
        with self._catalog.lock:
            names = self._catalog.names_of(record.id)
            gone = [one for one in names if one == name or name not in names]
            left = [one for one in names if one not in gone]
            if not any("@" not in one for one in left) and name in names and "@" not in name:
                # Digest references came with a tag and go with the last one.
                gone, left = list(names), []
            for one in gone:
                self._catalog.unname(one)
            if left or keep:
                return Removed(untagged=tuple(gone))
            chains = [f"sha256:{chain}" for chain in reversed(record.chains)]
            self._catalog.delete(record.id)
            needed = self._catalog.needed_chains()
            with self._lock:
                self._candidates[0].update(record.chains)
                self._candidates[1].update(record.blobs)
        self._collect()
        deleted = [chain for chain in chains if chain.removeprefix("sha256:") not in needed]
        return Removed(untagged=tuple(gone), deleted=(record.id, *deleted))

    def consider(self, chains: Iterable[str] = (), blobs: Iterable[str] = ()) -> None:
        """Delete these, once nobody works here, unless an image needs them by then."""
        with self._lock:
            self._candidates[0].update(chains)
            self._candidates[1].update(blobs)
        self._collect()

    def orphans(self) -> None:
        """Delete all that no image needs: what a pull that was given up had fetched, for one."""
        self.consider(self._layers.list(), self._blobs.list())
        self._blobs.drop_partials()

    def _collect(self) -> None:
        with self._catalog.lock, self._lock:
            if self._workers or not any(self._candidates):
                return
            chains, blobs = (set(one) for one in self._candidates)
            for one in self._candidates:
                one.clear()
            _delete(chains - self._catalog.needed_chains(), self._layers.delete)
            _delete(blobs - self._catalog.needed_blobs(), self._blobs.delete)


def _delete(names: Iterable[str], delete: Callable[[str], object]) -> None:
    for name in names:
        delete(name)
