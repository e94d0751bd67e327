"""Images: what containers have as their root. For now the machine itself, directories and tar archives."""

from runtime.images.errors import BadImage, ImageNotFound, InvalidImageName, UnpackFailed, UnsafeArchive
from runtime.images.image import DEFAULT_PATH, Image, ImageConfig
from runtime.images.store import Images

__all__ = [
    "DEFAULT_PATH",
    "BadImage",
    "Image",
    "ImageConfig",
    "ImageNotFound",
    "Images",
    "InvalidImageName",
    "UnpackFailed",
    "UnsafeArchive",
]
