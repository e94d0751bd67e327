"""Manifests: which blobs an image is made of, and the indexes that list one for each platform.

Source: OCI image-spec manifest.md and image-index.md; Docker's "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.images.config import dumps
from runtime.images.errors import BadImage

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
ACCEPTED = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
_ATTESTS = "vnd.docker.reference.type"  # Source: moby/buildkit docs/attestations/attestation-storage.md.
_ELSEWHERE = ("foreign", "nondistributable")
_INDEXES = (OCI_INDEX, DOCKER_LIST)
_MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
_SUFFIXES = {"gzip": "+gzip", "zstd": "+zstd", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A blob that somebody speaks of."""

    digest: str
    size: int
    media_type: str = ""
    platform: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            value["platform"] = self.platform
        if self.annotations:
            value["annotations"] = self.annotations
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image's parts; layers the lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Several manifests, of which one fits."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    def pick(self, name: str, platform: Platform) -> Descriptor:
        """The manifest for a platform.

        Raises:
            BadImage: There is none; says which there are.
        """
        # What proves or describes an image is listed beside it, and is none.
        images = [one for one in self.manifests if _ATTESTS not in one.annotations and not one.artifact_type]
        fits = [one for one in images if platform.fits(one.platform)]
        if not fits:
            known = sorted({_platform_text(one.platform) for one in images} - {"", "unknown/unknown"})
            raise BadImage(
                name, f"it has nothing for {platform}", f"it has: {', '.join(known)}; choose with --platform"
            )
        exact = [one for one in fits if one.platform.get("variant", "") == platform.variant]
        return (exact or fits)[0]


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image's programs run on."""

    architecture: str
    variant: str = ""
    os: str = "linux"

    @classmethod
    def parse(cls, text: str) -> Platform:
        """ "linux/arm64/v8", "linux/amd64", "arm64".

        Raises:
            BadImage: It is none.
        """
        parts = text.lower().split("/")
        if parts[0] != "linux":
            parts.insert(0, "linux")
        if len(parts) not in (2, 3) or not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts):
            raise BadImage(text, "that is no platform", "write it as linux/amd64 or linux/arm64/v8")
        names = {"x86_64": "amd64", "aarch64": "arm64"}
        return cls(names.get(parts[1], parts[1]), parts[2] if len(parts) == 3 else "")

    def fits(self, other: dict[str, str]) -> bool:
        """Whether what is said to be for other is for this; what says nothing may be."""
        if not other:
            return True
        if (other.get("os"), other.get("architecture")) != (self.os, self.architecture):
            return False
        return not self.variant or other.get("variant", "") in ("", self.variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse(content: bytes, media_type: str, name: str) -> Manifest | Index:
    """Read a manifest or an index.

    Args:
        media_type: As the registry or the descriptor told; "" leaves it to the content.

    Raises:
        BadImage: It is neither, or of a kind that is not supported.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadImage(name, f"its manifest is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadImage(name, "its manifest is no JSON object")
    if value.get("schemaVersion") == 1:
        raise BadImage(
            name, "its manifest has the form of before 2017 (schema 1)", "have it pushed again by a newer tool"
        )
    kind = str(value.get("mediaType") or media_type.partition(";")[0].strip())
    if kind not in _INDEXES + _MANIFESTS:
        kind = OCI_INDEX if "manifests" in value else OCI_MANIFEST
    try:
        # The content decides: an index served as a manifest confuses others into using what was never checked.
        if "manifests" in value:
            if kind in _MANIFESTS or "layers" in value:
                raise BadImage(name, "its manifest says that it is a manifest and an index at once")
            return Index(media_type=kind, manifests=tuple(map(_descriptor, value["manifests"])))
        if kind in _INDEXES:
            raise BadImage(name, "its manifest says that it is an index, and lists no manifests")
        layers = tuple(map(_descriptor, value["layers"]))
        _check_layers(layers, name)
        return Manifest(media_type=kind, config=_descriptor(value["config"]), layers=layers)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadImage(name, f"its manifest lacks what it must have ({error})") from error


def _check_layers(layers: Sequence[Descriptor], name: str) -> None:
    for layer in layers:
        if any(word in layer.media_type for word in _ELSEWHERE):
            raise BadImage(
                name,
                f"its layer {layer.digest} is foreign: registries do not have it, its maker has",
                "take an image all of whose layers are in its registry",
            )
        if layer.media_type.endswith("+encrypted"):
            raise BadImage(name, f"its layer {layer.digest} is encrypted", "decrypt it first, as with skopeo copy")


def build(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """An OCI manifest."""
    return dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )


def layer_type(compression: str) -> str:
    """The media type of a layer with this compression, as compression_of() names it."""
    return OCI_LAYER + _SUFFIXES[compression]


def _descriptor(value: Any) -> Descriptor:
    digest, size = value["digest"], value.get("size", 0)
    if not isinstance(digest, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise TypeError("a descriptor of the wrong form")
    return Descriptor(
        digest=digest,
        size=size,
        media_type=str(value.get("mediaType") or ""),
        platform={str(key): str(text) for key, text in (value.get("platform") or {}).items() if isinstance(text, str)},
        annotations={str(key): str(text) for key, text in (value.get("annotations") or {}).items()},
        artifact_type=str(value.get("artifactType") or ""),
    )


def _platform_text(platform: dict[str, str]) -> str:
    return "/".join(platform[key] for key in ("os", "architecture", "variant") if platform.get(key))
