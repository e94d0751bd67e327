"""Images of one layer: archives of root file systems, each unpacked once, however often it is used.

digests/<key>      the digest an archive file had when it was last read
archives/<digest>  the image that became of an archive
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from runtime.images import config as configs
from runtime.images.blobs import Blobs, hex_of
from runtime.images.catalog import Catalog, ImageRecord, LayerRecord
from runtime.images.errors import BadImage, UnpackFailed
from runtime.images.layers import Layers, read_json, write_json

_OTHER_FORMATS = ("oci-layout", "manifest.json")


class FlatImages:
    """Args:
    directory: Of the image store.
    """

    def __init__(self, directory: Path, catalog: Catalog, blobs: Blobs, layers: Layers) -> None:
        self._digests = directory / "digests"
        self._archives = directory / "archives"
        self._catalog = catalog
        self._blobs = blobs
        self._layers = layers

    def unpacked(self, path: Path) -> ImageRecord:
        """The record of an archive whose layer is there afterwards."""
        try:
            with open(path, "rb") as archive:
                return self._unpack(archive, path)
        except PermissionError as error:
            raise UnpackFailed(str(path), os.strerror(error.errno or 0).lower()) from error

    def _unpack(self, archive: BufferedReader, path: Path) -> ImageRecord:
        before = _identity(archive)
        memo = self._digests / hashlib.sha256(os.fsencode(path)).hexdigest()
        known = read_json(memo)
        digest = str(known.get("digest")) if known.get("identity") == before else ""
        digest = digest or hashlib.file_digest(archive, "sha256").hexdigest()
        record = self._known(digest)
        if record is None or not self._layers.has(record.chains[-1]):
            archive.seek(0)
            chain, diff_id = self._layers.add((), "", archive, str(path))
            self._check_format(chain, str(path))
            if _identity(archive) != before:
                self._drop_layer(chain)
                raise UnpackFailed(str(path), "it was changed meanwhile", "try again")
            record = self._record_of(digest, chain, diff_id, f"from {path}", source=str(path))
        write_json(memo, {"identity": before, "digest": digest})
        return record

    def kept(self, blob: str, source: str, changes: Mapping[str, Any] | None) -> ImageRecord:
        """The record of an archive that is a blob of ours, its layer unpacked.

        Args:
            changes: Members of its configuration; with any, it is an image of its own.
        """
        known = self._known(hex_of(blob))
        if known is not None and not changes:
            return self._with_blob(known, blob)
        with self._blobs.open(blob) as archive:
            chain, diff_id = self._layers.add((), "", archive, source)
        self._check_format(chain, source)
        return self._record_of(hex_of(blob), chain, diff_id, f"Imported from {source}", blob=blob, changes=changes)

    def _known(self, digest: str) -> ImageRecord | None:
        return self._catalog.get(str(read_json(self._archives / digest).get("id", "")))

    def _record_of(
        self,
        digest: str,
        chain: str,
        diff_id: str,
        comment: str,
        *,
        blob: str = "",
        source: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> ImageRecord:
        """One image an archive, however often and under whatever name it is unpacked."""
        with self._catalog.lock:
            known = self._known(digest)
            if known is not None and not changes:
                return known
            layer = LayerRecord(
                chain=chain, diff_id=diff_id, blob=blob, media_type=self._blobs.layer_type(blob) if blob else ""
            )
            record = ImageRecord(
                id=self._blobs.put(configs.plain(diff_id, comment, changes)), layers=(layer,), source=source
            )
            self._catalog.put(record)
            if not changes:
                write_json(self._archives / digest, {"id": record.id})
            return record

    def _with_blob(self, record: ImageRecord, blob: str) -> ImageRecord:
        """An image that was unpacked before, now with its archive kept."""
        if record.layers[0].blob:
            return record
        layer = replace(record.layers[0], blob=blob, media_type=self._blobs.layer_type(blob))
        kept = replace(record, layers=(layer,), source="")
        self._catalog.put(kept)
        return kept

    def _check_format(self, chain: str, path: str) -> None:
        top = set(os.listdir(self._layers.path(chain)))
        if top & set(_OTHER_FORMATS) and not top & {"bin", "usr", "etc"}:
            self._drop_layer(chain)
            raise BadImage(
                path,
                "it holds an image's layers and manifest, not a root file system",
                f"load it: netmodel load -i {path}",
            )

    def _drop_layer(self, chain: str) -> None:
        if chain not in self._catalog.needed_chains():
            self._layers.delete(chain)


def _identity(archive: BufferedReader) -> list[int]:
    """What changes when a file's content does."""
    status = os.fstat(archive.fileno())
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
