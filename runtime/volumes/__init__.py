"""Volumes: directories with a name that outlive containers."""

from runtime.volumes.api import Driver
from runtime.volumes.errors import (
    InvalidVolumeName,
    InvalidVolumeOption,
    VolumeExists,
    VolumeNotFound,
    VolumeUnusable,
)
from runtime.volumes.store import Volumes

__all__ = [
    "Driver",
    "InvalidVolumeName",
    "InvalidVolumeOption",
    "VolumeExists",
    "VolumeNotFound",
    "VolumeUnusable",
    "Volumes",
]
