"""Reading archives of images: OCI layouts, and Docker's of every age, with whatever compression around them.

The archive is read once, as it comes; layers go straight to where blobs are kept.
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from runtime.images import config as configs
from runtime.images import manifest as manifests
from runtime.images.blobs import Blobs
from runtime.images.errors import BadImage, BlobMissing, InvalidImageName
from runtime.images.manifest import Descriptor, Index, Manifest, Platform
from runtime.images.reference import Reference
from runtime.images.stream import CHUNK, Limits, Plain, Source
from runtime.images.tar import members

_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_DOCUMENT_BYTES = 8 << 20
_ALL_DOCUMENTS_BYTES = 64 << 20
_NAME = "io.containerd.image.name"
_REF = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image in an archive; its layers are blobs of ours, the lowest first."""

    config: bytes
    layers: tuple[str, ...]
    names: tuple[str, ...] = ()
    manifest: str = ""
    manifest_type: str = ""


@dataclass(slots=True)
class _Contents:
    documents: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # digests
    links: dict[str, str] = field(default_factory=dict)

    def resolve(self, path: str) -> str:
        path = posixpath.normpath(path)
        for _ in range(8):
            if path not in self.links:
                break
            path = self.links[path]
        return path


def read(
    blobs: Blobs,
    archive: Source,
    name: str,
    platform: Platform,
    added: list[str],
    told: Callable[[str, int, int], None] | None = None,
) -> list[Found]:
    """Take in an archive's blobs and say which images they make.

    Args:
        name: For messages.
        added: Gets the digests of blobs that were not here before, also when this fails.
        told: Called with a file's name, the bytes of it so far, and all of it.

    Raises:
        BadImage: It holds no images, or not all of one. BlobDamaged: A blob is not what its name says. TooLarge.
    """
    return _find(_take_in(blobs, archive, name, added, told), blobs, name, platform)


def _take_in(
    blobs: Blobs, archive: Source, name: str, added: list[str], told: Callable[[str, int, int], None] | None
) -> _Contents:
    contents, budget = _Contents(), _ALL_DOCUMENTS_BYTES
    try:
        with Plain(archive, name, Limits(), digest=False) as stream:
            for member, content in members(stream):
                path = posixpath.normpath(member.name.lstrip("/"))
                if member.issym():
                    contents.links[path] = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
                elif member.islnk():
                    contents.links[path] = posixpath.normpath(member.linkname.lstrip("/"))
                elif member.isfile() and _is_document(path, member.size):
                    budget -= member.size
                    if budget < 0:
                        raise BadImage(name, "its descriptions alone are larger than any image's")
                    contents.documents[path] = _whole(content)
                elif member.isfile():
                    contents.files[path] = _keep(blobs, path, content, member.size, added, told)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadImage(name, f"it is not a tar archive, or it is damaged ({error})") from error
    return contents


def _is_document(path: str, size: int) -> bool:
    return size <= _DOCUMENT_BYTES and (path.endswith(".json") or path in ("oci-layout", "repositories"))


def _whole(content: Source) -> bytes:
    pieces = []
    while piece := content.read(CHUNK):
        pieces.append(bytes(piece))
    return b"".join(pieces)


def _keep(
    blobs: Blobs,
    path: str,
    content: Source,
    size: int,
    added: list[str],
    told: Callable[[str, int, int], None] | None,
) -> str:
    named = _BLOB.fullmatch(path)
    expected = f"sha256:{named[1]}" if named else ""
    known = bool(expected) and blobs.has(expected)
    digest = blobs.receive(content, expected, (lambda done: told(path, done, size)) if told else None)
    if not known:
        added.append(digest)
    return digest


# --- what is in it ------------------------------------------------------------------------------


def _find(contents: _Contents, blobs: Blobs, name: str, platform: Platform) -> list[Found]:
    found = list(_of_layout(contents, blobs, name, platform)) if "index.json" in contents.documents else []
    tagged = list(_of_docker(contents, blobs, name)) if "manifest.json" in contents.documents else []
    if found and tagged:  # Docker writes both: digests are in the one, all names in the other
        names = {one.config: one.names for one in tagged}
        found = [_with_names(one, names.get(one.config, ())) for one in found]
    found = found or tagged
    if not found:
        raise BadImage(
            name,
            "it has neither an OCI layout (index.json) nor Docker's manifest.json",
            f"if it is a root file system: netmodel import {name} NAME",
        )
    return found


def _of_layout(contents: _Contents, blobs: Blobs, name: str, platform: Platform) -> Iterator[Found]:
    index = manifests.parse(contents.documents["index.json"], manifests.OCI_INDEX, name)
    if not isinstance(index, Index):
        raise BadImage(name, "its index.json is no index")
    for descriptor in index.manifests:
        with suppress(_NotAnImage):
            yield _of_manifest(descriptor, blobs, name, platform)


class _NotAnImage(Exception):
    """A signature or an attestation, stored as images are."""


def _of_manifest(descriptor: Descriptor, blobs: Blobs, name: str, platform: Platform, depth: int = 0) -> Found:
    content = _document(blobs, descriptor.digest, name)
    manifest = manifests.parse(content, descriptor.media_type, name)
    if isinstance(manifest, Index):
        if depth == 2:
            raise BadImage(name, "its indexes lie in each other without end")
        inner = _of_manifest(manifest.pick(name, platform), blobs, name, platform, depth + 1)
        return _with_names(inner, _names(descriptor))
    config = _document(blobs, manifest.config.digest, name)
    if not configs.diff_ids(configs.parse(config, name)) and manifest.layers:
        raise _NotAnImage
    _require(blobs, manifest, name)
    return Found(
        config=config,
        layers=tuple(layer.digest for layer in manifest.layers),
        names=_names(descriptor),
        manifest=descriptor.digest,
        manifest_type=manifest.media_type,
    )


def _require(blobs: Blobs, manifest: Manifest, name: str) -> None:
    for layer in manifest.layers:
        if not blobs.has(layer.digest):
            raise BadImage(name, f"layer {layer.digest} is missing in it")


def _of_docker(contents: _Contents, blobs: Blobs, name: str) -> Iterator[Found]:
    try:
        entries: Any = json.loads(contents.documents["manifest.json"])
        for entry in entries:
            layers = tuple(_file(contents, path, name) for path in entry["Layers"] or ())
            config_path = contents.resolve(entry["Config"])
            config = contents.documents.get(config_path)
            if config is None:
                config = _document(blobs, _file(contents, config_path, name), name)
            names = tuple(filter(None, (_name(text) for text in entry.get("RepoTags") or ())))
            yield Found(config=config, layers=layers, names=names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadImage(name, f"its manifest.json is wrong ({error})") from error


def _file(contents: _Contents, path: str, name: str) -> str:
    digest = contents.files.get(contents.resolve(path))
    if digest is None:
        raise BadImage(name, f"{path} is missing in it")
    return digest


def _document(blobs: Blobs, digest: str, name: str) -> bytes:
    try:
        if blobs.size(digest) > _DOCUMENT_BYTES:
            raise BadImage(name, f"{digest} should be a description, and is larger than any")
        return blobs.read(digest)
    except BlobMissing:
        raise BadImage(name, f"{digest} is missing in it") from None


def _with_names(found: Found, names: Sequence[str]) -> Found:
    together = tuple(dict.fromkeys((*found.names, *names)))
    return Found(
        config=found.config,
        layers=found.layers,
        names=together,
        manifest=found.manifest,
        manifest_type=found.manifest_type,
    )


def _names(descriptor: Descriptor) -> tuple[str, ...]:
    """By its annotations; a word alone is a tag, of nobody knows what."""
    complete = descriptor.annotations.get(_NAME, "")
    short = descriptor.annotations.get(_REF, "")
    found = _name(complete) or (_name(short) if "/" in short or ":" in short else None)
    return (found,) if found else ()


def _name(text: str) -> str | None:
    with suppress(InvalidImageName):
        reference = Reference.parse(text)
        if reference.tag and reference.familiar_repository != "host":
            return Reference(reference.domain, reference.path, reference.tag).familiar
    return None
