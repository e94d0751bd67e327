"""Pushing an image: layers side by side, those that the registry has already not at all, the manifest last."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BufferedReader
from typing import BinaryIO

from runtime.errors import RuntimeFault
from runtime.images.catalog import ImageRecord, LayerRecord
from runtime.images.distribution.attempts import persist
from runtime.images.distribution.transfer import Transfer
from runtime.images.manifest import OCI_LAYER, layer_type
from runtime.images.progress import Silent
from runtime.images.reference import Reference
from runtime.images.registry import RegistryFailed, Repository, Upload
from runtime.images.save import manifest_of
from runtime.images.shelf import short
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

        def content(offset: int, length: int) -> BinaryIO:
            return _Counted(self, blob, offset, length, told_as)  # type: ignore[return-value]

        upload = Upload(target, blob, content, size)
        persist(upload.go_on, self._given_up, lambda: upload.reached)
        tell(status="Pushed", id=told_as)

    def opened(self, blob: str) -> BufferedReader:
        return self._images.blobs.open(blob)

    def size_of(self, blob: str) -> int:
        return self._images.blobs.size(blob)

    def sent(self, told_as: str, done: int, size: int) -> None:
        """Raises: RegistryFailed: Nobody wants it any more."""
        if self._given_up.is_set():
            raise RegistryFailed("", "the push was given up")
        if told_as:
            self._tell(status="Pushing", id=told_as, current=done, total=size)

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
    """A part of a blob that tells how far the blob has been read."""

    def __init__(self, push: Push, blob: str, offset: int, length: int, told_as: str) -> None:
        self._push = push
        self._told_as = told_as
        self._size = push.size_of(blob)
        self._done, self._end = offset, offset + length
        self._file = push.opened(blob)
        self._file.seek(offset)

    def read(self, size: int = CHUNK, /) -> bytes:
        piece = self._file.read(min(size, self._end - self._done))
        self._done += len(piece)
        if piece:
            self._push.sent(self._told_as, self._done, self._size)
        return piece

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
