"""Images: what containers have as their root: the machine itself, directories, archives, and layers from anywhere."""

from runtime.images.commit import Written
from runtime.images.errors import (
    BadImage,
    BlobDamaged,
    BlobMissing,
    CannotCommit,
    ImageInUse,
    ImageNotFound,
    InvalidImageName,
    NotKept,
    TooLarge,
    UnpackFailed,
    UnsafeArchive,
)
from runtime.images.image import DEFAULT_PATH, Healthcheck, Image, ImageConfig
from runtime.images.progress import Tell
from runtime.images.reference import Reference
from runtime.images.removal import Removed
from runtime.images.shelf import Details
from runtime.images.store import Images

__all__ = [
    "DEFAULT_PATH",
    "BadImage",
    "BlobDamaged",
    "BlobMissing",
    "CannotCommit",
    "Details",
    "Healthcheck",
    "Image",
    "ImageConfig",
    "ImageInUse",
    "ImageNotFound",
    "Images",
    "InvalidImageName",
    "NotKept",
    "Reference",
    "Removed",
    "Tell",
    "TooLarge",
    "UnpackFailed",
    "UnsafeArchive",
    "Written",
]
