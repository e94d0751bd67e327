"""Volumes: directories with a name that outlive containers."""

from runtime.volumes.errors import (
    InvalidVolumeName,
    InvalidVolumeOption,
    VolumeExists,
    VolumeNotFound,
    VolumeUnusable,
)
from runtime.volumes.store import Volumes

__all__ = [
    "InvalidVolumeName",
    "InvalidVolumeOption",
    "VolumeExists",
    "VolumeNotFound",
    "VolumeUnusable",
    "Volumes",
]
