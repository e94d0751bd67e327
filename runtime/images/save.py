"""Writing images as one archive that Docker, podman and skopeo read: an OCI layout with a manifest.json in it."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any

from runtime.images import manifest as manifests
from runtime.images.blobs import Blobs, digest_of, hex_of
from runtime.images.catalog import ImageRecord
from runtime.images.config import dumps
from runtime.images.errors import BlobDamaged, NotKept
from runtime.images.manifest import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor
from runtime.images.pack import END, header, padding
from runtime.images.reference import Reference
from runtime.images.stream import CHUNK


def save(blobs: Blobs, images: Sequence[tuple[ImageRecord, Sequence[str]]]) -> Iterator[bytes]:
    """The archive, piece by piece.

    Args:
        images: Each with the names it is to have there.

    Raises:
        NotKept, BlobMissing, BlobDamaged: The archive ends in the middle then.
    """
    index: list[dict[str, Any]] = []
    docker: list[dict[str, Any]] = []
    wanted: dict[str, bytes | None] = {}  # None is a blob of ours
    for record, names in images:
        descriptor, content = manifest_of(blobs, record)
        wanted[descriptor.digest] = content
        wanted.update((blob, None) for blob in record.blobs if blob != record.manifest)
        index.extend(_entries(descriptor, names))
        docker.append(
            {
                "Config": _path(record.id),
                "RepoTags": [_complete(name) for name in names] or None,
                "Layers": [_path(layer.blob) for layer in record.layers],
            }
        )
    yield _directory("blobs/") + _directory("blobs/sha256/")
    for digest, known in wanted.items():
        yield from _blob(blobs, digest) if known is None else _small(_path(digest), known)
    yield from _small("index.json", dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}))
    yield from _small("manifest.json", dumps(docker))
    yield from _small("oci-layout", dumps({"imageLayoutVersion": "1.0.0"}))
    yield END


def manifest_of(blobs: Blobs, record: ImageRecord) -> tuple[Descriptor, bytes]:
    """The manifest under which an image came, else one that is made for it.

    Raises:
        NotKept: We have no archive of a layer.
    """
    if not all(layer.blob for layer in record.layers):
        raise NotKept(record.id, record.source)
    if record.manifest:
        content = blobs.read(record.manifest)
        return Descriptor(digest=record.manifest, size=len(content), media_type=record.manifest_type), content
    layers = [
        Descriptor(digest=layer.blob, size=blobs.size(layer.blob), media_type=layer.media_type)
        for layer in record.layers
    ]
    config = Descriptor(digest=record.id, size=blobs.size(record.id), media_type=OCI_CONFIG)
    content = manifests.build(config, layers)
    return Descriptor(digest=digest_of(content), size=len(content), media_type=OCI_MANIFEST), content


def _entries(descriptor: Descriptor, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """An entry of the index for each name, or one without."""
    for name in names:
        # containerd and Docker read the first, podman and skopeo the second.
        keys = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
        annotations = dict.fromkeys(keys, _complete(name))
        yield {**descriptor.to_json(), "annotations": annotations}
    if not names:
        yield descriptor.to_json()


def _complete(name: str) -> str:
    """With its registry, which podman does not guess."""
    reference = Reference.parse(name)
    return f"{reference.repository}:{reference.tag}"


def _path(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"


def _directory(name: str) -> bytes:
    return header(name, 0, 0o755, tarfile.DIRTYPE)


def _small(name: str, content: bytes) -> Iterator[bytes]:
    yield header(name, len(content)) + content + padding(len(content))


def _blob(blobs: Blobs, digest: str) -> Iterator[bytes]:
    """A member whose content is verified on its way: nobody gets what we would not take."""
    found = hashlib.sha256()
    with blobs.open(digest) as file:
        size = blobs.size(digest)
        yield header(_path(digest), size)
        left = size
        while left and (piece := file.read(min(left, CHUNK))):
            found.update(piece)
            left -= len(piece)
            yield piece
        if left or f"sha256:{found.hexdigest()}" != digest:
            raise BlobDamaged(digest, "its content is not what it was")
        yield padding(size)
