"""Volumes in Docker's JSON, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netmodel.daemon.wire.decode import Body, decode, refuse
from netmodel.daemon.wire.encode import moment
from netmodel.model import Volume, VolumeConfig


class CreateRequest(Body):
    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


def read_create(data: bytes) -> VolumeConfig:
    request = decode(CreateRequest, data)
    refuse([("ClusterVolumeSpec", request.cluster_volume_spec)])
    return VolumeConfig(
        name=request.name or "",
        driver=request.driver or "local",
        options=request.driver_opts or {},
        labels=request.labels or {},
    )


def shape(volume: Volume, path: Path, size_bytes: int | None = None, users: int = 0) -> dict[str, Any]:
    """Args:
    size_bytes: Tell what it takes: its size, -1 if that is not known, and how many containers have it.
    """
    labels = dict(volume.config.labels)
    if volume.anonymous:
        labels.setdefault("com.docker.volume.anonymous", "")
    return {
        "CreatedAt": moment(volume.created_at),
        "Driver": volume.config.driver,
        "Labels": labels or None,
        "Mountpoint": str(path),
        "Name": volume.name,
        "Options": dict(volume.config.options) or None,
        "Scope": "local",
        **({} if size_bytes is None else {"UsageData": {"Size": size_bytes, "RefCount": users}}),
    }
