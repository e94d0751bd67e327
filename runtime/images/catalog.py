"""What images there are and what they are called: small records on the disk, all of them in memory.

records/<id>    the layers, blobs and origin of an image
names/<key>     a name and the id it stands for
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runtime.images.layers import entries, read_json, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """Args:
    chain: Digits of its chain id.
    diff_id: Digest of its archive without compression.
    blob: Digest of the archive as we keep it; "" if we keep none.
    media_type: Of the blob.
    """

    chain: str
    diff_id: str
    blob: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """Args:
    id: "sha256:..." of its configuration, which is a blob.
    layers: The lowest first.
    manifest: Digest of the manifest under which it came, which is a blob; "" if it came without.
    source: The archive it was unpacked from, if no copy of that is kept.
    """

    id: str
    layers: tuple[LayerRecord, ...]
    manifest: str = ""
    manifest_type: str = ""
    source: str = ""
    added_at: str = ""

    @property
    def chains(self) -> tuple[str, ...]:
        return tuple(layer.chain for layer in self.layers)

    @property
    def blobs(self) -> tuple[str, ...]:
        """All it needs, the configuration last but for the manifest."""
        layers = (layer.blob for layer in self.layers if layer.blob)
        return (*layers, self.id, *([self.manifest] if self.manifest else []))


class Catalog:
    """Records and names, in memory and on the disk; the caller's lock keeps several changes together."""

    def __init__(self, directory: Path) -> None:
        self._records_at = directory / "records"
        self._names_at = directory / "names"
        self.lock = threading.RLock()
        self._records: dict[str, ImageRecord] = {}
        self._names: dict[str, str] = {}
        for name in entries(self._records_at):
            record = _read_record(self._records_at / name)
            if record is not None:
                self._records[record.id] = record
        for key in entries(self._names_at):
            value = read_json(self._names_at / key)
            if value.get("id") in self._records:
                self._names[value["name"]] = value["id"]

    # --- records --------------------------------------------------------------------------------

    def get(self, image_id: str) -> ImageRecord | None:
        return self._records.get(image_id)

    def records(self) -> list[ImageRecord]:
        with self.lock:
            return list(self._records.values())

    def starting_with(self, digits: str) -> list[ImageRecord]:
        with self.lock:
            return [one for one in self._records.values() if one.id.startswith(f"sha256:{digits}")]

    def put(self, record: ImageRecord) -> None:
        """Add or replace it; one that does not say when it was added is added now."""
        with self.lock:
            record = replace(record, added_at=record.added_at or datetime.now(UTC).isoformat())
            write_json(self._records_at / record.id.removeprefix("sha256:"), asdict(record))
            self._records[record.id] = record

    def delete(self, image_id: str) -> None:
        with self.lock:
            self._records.pop(image_id, None)
            (self._records_at / image_id.removeprefix("sha256:")).unlink(missing_ok=True)

    # --- names ----------------------------------------------------------------------------------

    def named(self, name: str) -> str | None:
        return self._names.get(name)

    def names_of(self, image_id: str) -> tuple[str, ...]:
        """Tags and digest references, sorted."""
        with self.lock:
            return tuple(sorted(name for name, found in self._names.items() if found == image_id))

    def names(self) -> Mapping[str, str]:
        with self.lock:
            return dict(self._names)

    def name(self, name: str, image_id: str) -> None:
        """Let a name stand for an image, from now on for this one alone."""
        with self.lock:
            if self._names.get(name) != image_id:
                write_json(self._names_at / _key(name), {"name": name, "id": image_id})
                self._names[name] = image_id

    def unname(self, name: str) -> None:
        with self.lock:
            self._names.pop(name, None)
            (self._names_at / _key(name)).unlink(missing_ok=True)

    # --- what is needed -------------------------------------------------------------------------

    def needed_chains(self) -> set[str]:
        with self.lock:
            return {chain for record in self._records.values() for chain in record.chains}

    def needed_blobs(self) -> set[str]:
        with self.lock:
            return {blob for record in self._records.values() for blob in record.blobs}


def _key(name: str) -> str:
    """A name may be longer than a file's name, and have slashes."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _read_record(path: Path) -> ImageRecord | None:
    value = read_json(path)
    try:
        layers = tuple(LayerRecord(**layer) for layer in value.pop("layers"))
        return ImageRecord(layers=layers, **value)
    except (KeyError, TypeError):  # cut short by a power failure
        return None
