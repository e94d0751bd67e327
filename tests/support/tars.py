"""Tar archives made for a test, and images made of them in the forms that other tools write."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **attributes: object) -> Member:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def directory(name: str, **attributes: object) -> Member:
    return member(name, tarfile.DIRTYPE, **attributes)


def link(name: str, target: str) -> Member:
    return member(name, tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Member:
    return member(name, tarfile.LNKTYPE, linkname=target)


def tar_of(members: Iterable[Member]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return stream


def layer(*members: Member) -> bytes:
    """The archive of one layer, without compression."""
    return tar_of(members).getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config_of(layers: Sequence[bytes], **inner: Any) -> bytes:
    """The configuration of an image with these layers, given without compression."""
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-05-06T07:08:09.123456789Z",
            "config": {"Cmd": ["/bin/tool"], **inner},
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
            "history": [{"created": "2024-05-06T07:08:09Z", "created_by": f"step {n}"} for n, _ in enumerate(layers)],
        }
    ).encode()


def docker_archive(layers: Sequence[bytes], tags: Sequence[str] = ("lab/app:1",), **inner: Any) -> io.BytesIO:
    """As `docker save` wrote it before version 25: a directory a layer, the manifest last."""
    config = config_of(layers, **inner)
    name = f"{digest(config)[7:]}.json"
    members, paths = [member(name, content=config)], []
    for one in layers:
        directory_name = hashlib.sha256(b"directory" + one).hexdigest()
        paths.append(f"{directory_name}/layer.tar")
        members += [directory(directory_name), member(f"{directory_name}/layer.tar", content=one)]
        members.append(member(f"{directory_name}/VERSION", content=b"1.0"))
    manifest = [{"Config": name, "RepoTags": list(tags), "Layers": paths}]
    return tar_of([*members, member("manifest.json", content=json.dumps(manifest).encode())])


def oci_archive(
    layers: Sequence[bytes], name: str = "docker.io/lab/app:1", compress: bool = True, **inner: Any
) -> io.BytesIO:
    """An OCI layout in a tar archive."""
    kind = "application/vnd.oci.image"
    blobs = {digest(config := config_of(layers, **inner)): config}
    descriptors = []
    for one in layers:
        packed = gzip.compress(one, mtime=0) if compress else one
        blobs[digest(packed)] = packed
        media_type = f"{kind}.layer.v1.tar" + ("+gzip" if compress else "")
        descriptors.append({"mediaType": media_type, "digest": digest(packed), "size": len(packed)})
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": descriptors,
        }
    ).encode()
    blobs[digest(manifest)] = manifest
    entry = {"mediaType": f"{kind}.manifest.v1+json", "digest": digest(manifest), "size": len(manifest)}
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}  # type: ignore[assignment]
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    files = [member(f"blobs/sha256/{one[7:]}", content=content) for one, content in blobs.items()]
    layout = member("oci-layout", content=b'{"imageLayoutVersion": "1.0.0"}')
    return tar_of([layout, member("index.json", content=index), *files])
