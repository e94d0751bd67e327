"""Pushing an image: layers side by side, those that the registry has already not at all, the manifest last."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import BinaryIO

from runtime.errors import RuntimeFault
from runtime.images.catalog import ImageRecord, LayerRecord
from runtime.images.distribution.attempts import persist
from runtime.images.distribution.transfer import Transfer
from runtime.images.manifest import OCI_LAYER, layer_type
from runtime.images.progress import Silent, Tell
from runtime.images.reference import Reference
from runtime.images.registry import RegistryFailed, Repository
from runtime.images.save import manifest_of
from runtime.images.store import Images, short
from runtime.images.stream import CHUNK, Joined

_PARALLEL = 3
_LEVEL = 6  # as gzip's own


class Push(Transfer):
    """Takes an image to a registry; what is there already stays."""

    def run(self, reference: Reference) -> str:
        """Push the image that has this name to where the name says; returns the manifest's digest.

        Raises:
            ImageNotFound, NotKept, NotAuthorized, RegistryFailed.
        """
        self._tell(status=f"The push refers to repository [{reference.repository}]")
        with self._images.removal.working():
            record = self._images.find(reference.name)
            manifest_of(self._images.blobs, record)  # refuses what cannot be given, before anything is sent
            record = self._compressed(record)
            descriptor, manifest = manifest_of(self._images.blobs, record)
            target = Repository(self._transport, reference.domain, reference.path, self._credentials, write=True)
            others = self._others(reference)
            with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="push") as pool:
                try:
                    sent = [
                        pool.submit(self._send, target, layer.blob, short(layer.chain), others)
                        for layer in dict.fromkeys(record.layers)
                    ]
                    for one in sent:
                        one.result()
                except BaseException:
                    self._given_up.set()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
            self._send(target, record.id, "", {})
            tag = reference.tag or descriptor.digest
            persist(lambda: target.put_manifest(tag, manifest, descriptor.media_type), self._given_up)
            self._images.catalog.name(reference.with_digest(descriptor.digest).name, record.id)
        self._tell(status=f"{tag}: digest: {descriptor.digest} size: {descriptor.size}")
        return descriptor.digest

    def _send(self, target: Repository, blob: str, told_as: str, others: dict[str, str]) -> None:
        tell = self._tell if told_as else Silent
        tell(status="Preparing", id=told_as)
        if persist(lambda: target.has_blob(blob), self._given_up):
            tell(status="Layer already exists", id=told_as)
            return
        source = others.get(blob, "")
        if source and self._mounted(target, blob, source):
            tell(status=f"Mounted from {source}", id=told_as)
            return
        size = self._images.blobs.size(blob)

        def content() -> BinaryIO:
            return _Counted(self._images, blob, size, told_as, tell, self._given_up)  # type: ignore[return-value]

        persist(lambda: target.upload(blob, content, size), self._given_up)
        tell(status="Pushed", id=told_as)

    def _mounted(self, target: Repository, blob: str, source: str) -> bool:
        try:
            return target.mount(blob, source)
        except RuntimeFault:  # it was a short cut
            return False

    def _others(self, reference: Reference) -> dict[str, str]:
        """By blob, another repository of the same registry that has it, as far as we know."""
        found: dict[str, str] = {}
        for name, image_id in self._images.catalog.names().items():
            other, record = Reference.parse(name), self._images.catalog.get(image_id)
            # A digest is known of what was pulled or pushed; a tag may be our own idea.
            if record and other.digest and other.domain == reference.domain and other.path != reference.path:
                found.update(dict.fromkeys(record.blobs, other.path))
        return found

    def _compressed(self, record: ImageRecord) -> ImageRecord:
        """The same image with its layers compressed, as registries want them; kept so from then on."""
        if record.manifest or all(layer.media_type != OCI_LAYER for layer in record.layers):
            return record
        layers = []
        for layer in record.layers:
            if layer.media_type == OCI_LAYER:
                self._tell(status="Compressing", id=short(layer.chain))
                layers.append(self._compress(layer))
            else:
                layers.append(layer)
        fresh = replace(record, layers=tuple(layers))
        self._images.catalog.put(fresh)
        self._images.removal.consider(blobs=record.blobs)
        return fresh

    def _compress(self, layer: LayerRecord) -> LayerRecord:
        with self._images.blobs.open(layer.blob) as plain:
            blob = self._images.blobs.receive(Joined(_gzip(plain)))
        return replace(layer, blob=blob, media_type=layer_type("gzip"))


def _gzip(plain: BinaryIO) -> Iterator[bytes]:
    """Without name and time: the same content becomes the same blob."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    while piece := plain.read(CHUNK):
        yield packer.compress(piece)
    yield packer.flush()


class _Counted:
    """A blob that tells how far it has been read."""

    def __init__(
        self, images: Images, blob: str, size: int, told_as: str, tell: Tell, given_up: threading.Event
    ) -> None:
        self._file = images.blobs.open(blob)
        self._size, self._told_as, self._tell, self._given_up = size, told_as, tell, given_up
        self._done = 0

    def read(self, size: int = CHUNK, /) -> bytes:
        if self._given_up.is_set():
            raise RegistryFailed("", "the push was given up")
        piece = self._file.read(size)
        self._done += len(piece)
        if piece:
            self._tell(status="Pushing", id=self._told_as, current=self._done, total=self._size)
        return piece

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
