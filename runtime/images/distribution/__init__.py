"""Moving images between registries and the store."""

from runtime.images.distribution.pull import Pull
from runtime.images.distribution.push import Push

__all__ = ["Pull", "Push"]
