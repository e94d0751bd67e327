"""What a pull and a push have in common: images, a way to registries, and somebody to tell."""

from __future__ import annotations

import threading

from runtime.images.progress import Silent, Tell
from runtime.images.registry import Credentials, Transport
from runtime.images.store import Images


class Transfer:
    """Args:
    tell: Raising stops the transfer.
    """

    def __init__(
        self, images: Images, transport: Transport, credentials: Credentials | None = None, tell: Tell | None = None
    ) -> None:
        self._images = images
        self._transport = transport
        self._credentials = credentials
        self._tell = tell or Silent
        self._given_up = threading.Event()
