"""Speaking to registries: HTTP, who may, and the requests of the OCI distribution protocol."""

from runtime.images.registry.auth import Credentials
from runtime.images.registry.client import Repository
from runtime.images.registry.errors import NotAuthorized, NotInRegistry, RegistryFailed
from runtime.images.registry.login import login
from runtime.images.registry.settings import Registries
from runtime.images.registry.transport import Transport
from runtime.images.registry.upload import Upload

__all__ = [
    "Credentials",
    "NotAuthorized",
    "NotInRegistry",
    "Registries",
    "RegistryFailed",
    "Repository",
    "Transport",
    "Upload",
    "login",
]
