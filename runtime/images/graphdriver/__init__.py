"""Graph drivers: how the layers of an image lie on the disk, and what a container stacks."""

from runtime.images.graphdriver.api import GraphDriver
from runtime.images.graphdriver.choose import choose
from runtime.images.graphdriver.copy import Copied
from runtime.images.graphdriver.overlay import Overlay

__all__ = ["Copied", "GraphDriver", "Overlay", "choose"]
