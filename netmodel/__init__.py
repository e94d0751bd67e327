"""netmodel: a container engine whose centre is the network."""

__version__ = "0.1.0"
