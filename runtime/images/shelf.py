"""What images are here: found by whatever one calls them, and their layers unpacked again if they were lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.images import blobs as blob_store
from runtime.images import config as configs
from runtime.images import host
from runtime.images import layers as layer_store
from runtime.images.blobs import Blobs
from runtime.images.catalog import Catalog, ImageRecord, LayerRecord
from runtime.images.errors import (
    BadImage,
    BlobDamaged,
    ImageNotFound,
    InvalidImageName,
    UnpackFailed,
    available,
)
from runtime.images.flat import FlatImages
from runtime.images.graphdriver import choose
from runtime.images.image import Image
from runtime.images.layers import Layers
from runtime.images.progress import Tell
from runtime.images.reference import Reference
from runtime.images.removal import Removal
from runtime.images.settling import Settling
from runtime.trash import Trash


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All that is known of an image.

    Args:
        config: Its configuration as it stands.
        layers: With the bytes each takes unpacked, the lowest first.
    """

    image: Image
    config: Mapping[str, Any]
    layers: tuple[tuple[LayerRecord, int], ...]
    manifest: str = ""
    source: str = ""
    added_at: datetime | None = None


class Shelf:
    """Args:
    directory: Where everything is kept; made when first needed.
    engine_root: Hidden from containers of the image "host"; by default the directory above.
    driver: "overlay" or "copy", for a new store; "" takes what the file system allows.
    """

    def __init__(self, directory: Path, engine_root: Path | None = None, driver: str = "") -> None:
        self._directory = directory
        self._engine_root = directory.parent if engine_root is None else engine_root
        self._trash = Trash(directory / ".trash")
        self.settling = Settling(directory / "unsettled")
        self.blobs = Blobs(directory, self.settling)
        self.layers = Layers(directory, choose(directory, driver), self.settling, self._trash)
        self.catalog = Catalog(directory)
        self.removal = Removal(self.catalog, self.blobs, self.layers)
        self._flat = FlatImages(directory, self.catalog, self.blobs, self.layers)
        self._images: dict[str, Image] = {}  # without names, which change
        self._recover()

    def _recover(self) -> None:
        for kind, name in self.settling.doubtful():
            if kind == blob_store.KIND:
                self.blobs.verify(f"sha256:{name}")
            elif kind == layer_store.KIND:
                self.layers.delete(name)
        self.blobs.sweep()
        self.layers.sweep()
        self._trash.sweep()

    # --- find -----------------------------------------------------------------------------------

    def resolve(self, ref: str, base: Path | None = None) -> Image:
        """Find what a user calls an image: "host", a path (/..., ./..., ../...), a name, an id.

        Args:
            base: What a relative path starts from; by default the working directory.

        Raises:
            ImageNotFound: With what there is and how else to name an image.
            BadImage, UnsafeArchive, TooLarge, UnpackFailed: A path that is no usable image.
            BlobDamaged, BlobMissing: A layer was lost, and could not be unpacked again.
        """
        if host.is_meant(ref):
            return host.host_image(self._engine_root)
        if ref.startswith(("/", "./", "../")) or ref in (".", ".."):
            return self._from_path(Path(os.path.normpath((base or Path.cwd()) / ref)), ref)
        return self.image(self.find(ref, base))

    def find(self, ref: str, base: Path | None = None) -> ImageRecord:
        """The record of what a name, an id or the unique beginning of an id stands for.

        Raises:
            ImageNotFound.
        """
        record = self.catalog.get(ref)
        if record is None:
            with contextlib.suppress(InvalidImageName):
                record = self.catalog.get(self.catalog.named(Reference.parse(ref).name) or "")
        digits = ref.removeprefix("sha256:")
        if record is None and len(digits) >= 6 and re.fullmatch(r"[0-9a-f]{1,64}", digits):
            found = self.catalog.starting_with(digits)
            record = found[0] if len(found) == 1 else None
        if record is None:
            raise ImageNotFound(ref, self._hint(ref, base))
        return record

    def image(self, record: ImageRecord) -> Image:
        """The value of a record; layers that were lost are unpacked again."""
        known = self._images.get(record.id)
        if known is None or not all(self.layers.has(chain) for chain in record.chains):
            self._unpack_all(record)
            known = self._images[record.id] = self._value(record)
        names = self.catalog.names_of(record.id)
        return replace(
            known,
            names=tuple(name for name in names if "@" not in name),
            digests=tuple(name for name in names if "@" in name),
        )

    def details(self, ref: str) -> Details:
        """All about an image of the store, or about "host"."""
        if host.is_meant(ref):
            return Details(image=self.resolve(ref), config={}, layers=())
        record = self.find(ref)
        return Details(
            image=self.image(record),
            config=configs.parse(self.blobs.read(record.id), ref),
            layers=tuple((layer, self.layers.size(layer.chain)) for layer in record.layers),
            manifest=record.manifest,
            source=record.source,
            added_at=datetime.fromisoformat(record.added_at) if record.added_at else None,
        )

    def list(self) -> tuple[Image, ...]:
        """The machine itself, then every image of the store, by name; damaged ones are left out."""
        images = []
        for record in self.catalog.records():
            with contextlib.suppress(BadImage, BlobDamaged, ImageNotFound, UnpackFailed):
                images.append(self.image(record))
        return host.host_image(self._engine_root), *sorted(images, key=lambda image: image.names or ("~",))

    # --- layers ---------------------------------------------------------------------------------

    def _unpack_all(self, record: ImageRecord, tell: Tell | None = None) -> None:
        """See that every layer is there."""
        for number in range(len(record.layers)):
            self.unpack(record, number, tell)

    def unpack(self, record: ImageRecord, number: int, tell: Tell | None = None) -> None:
        """See that a layer is there: unpack it from our blob if it is not. Those below it are there.

        Raises:
            BlobMissing, BlobDamaged, BadImage, UnsafeArchive, TooLarge, UnpackFailed.
        """
        layer = record.layers[number]
        if self.layers.has(layer.chain):
            return
        if not layer.blob:
            raise ImageNotFound(record.id, f"it was unpacked from {record.source}; name that file again")
        if tell is not None:
            tell(status="Extracting", id=short(layer.blob))
        try:
            with self.blobs.open(layer.blob) as archive:
                self.layers.add(record.chains[:number], layer.diff_id, archive, f"layer {layer.blob}")
        except (BadImage, BlobDamaged):
            # Whatever the reason, the next pull shall not believe that this blob is good.
            self.blobs.verify(layer.blob)
            raise

    def _value(self, record: ImageRecord) -> Image:
        config = configs.parse(self.blobs.read(record.id), record.id)
        return Image(
            id=record.id,
            names=(),
            layers=self.layers.stack(record.chains),
            created_at=configs.created(config),
            config=configs.values(config, record.id),
            size_bytes=sum(self.layers.size(chain) for chain in record.chains),
        )

    # --- names ----------------------------------------------------------------------------------

    def _from_path(self, path: Path, ref: str) -> Image:
        if path.is_dir():
            return _directory(path)
        if path.is_file():
            with self.removal.working():
                return self.image(self._flat.unpacked(path))
        if path.exists():
            raise BadImage(str(path), "it is neither a directory nor a tar archive")
        raise ImageNotFound(ref, f"{path} does not exist; " + available(self._known()))

    def _known(self) -> tuple[str, ...]:
        return host.NAME, *sorted(name for name in self.catalog.names() if "@" not in name)

    def _hint(self, ref: str, base: Path | None) -> str:
        if ((base or Path.cwd()) / ref).exists():
            return f"write ./{ref} to use the file or directory of that name"
        return available(self._known())


def short(digest: str) -> str:
    """The first digits, as progress and listings show them."""
    return digest.removeprefix("sha256:")[:12]


def _directory(path: Path) -> Image:
    """A directory as it is now and as it will be: nothing is copied."""
    real = os.path.realpath(path)
    if real == "/":
        raise BadImage(real, "the machine's root as it is would show the containers themselves", 'use the image "host"')
    return Image(
        id="sha256:" + hashlib.sha256(os.fsencode(real)).hexdigest(),
        names=(),
        layers=(real,),
        created_at=datetime.fromtimestamp(os.stat(real).st_mtime, UTC),
    )
