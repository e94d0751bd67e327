"""One blob on its way to a registry, in pieces; what the registry has kept of it when it breaks off is not sent again.

Source: OCI distribution-spec spec.md, "Pushing a blob in chunks".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

from runtime.images.registry.client import Repository
from runtime.images.registry.errors import NotAuthorized, NotInRegistry, RegistryFailed
from runtime.images.registry.transport import Response

# Registries that forget a piece which broke off forget no more than this; smaller blobs go in one request.
PIECE = 32 << 20
_MOST = 1 << 30
_OCTETS = {"Content-Type": "application/octet-stream"}


class Upload:
    """Args:
    content: Opens so many bytes of the blob from an offset.

    Attributes:
        reached: So many bytes the registry has.
    """

    def __init__(
        self, target: Repository, digest: str, content: Callable[[int, int], BinaryIO], size: int, piece: int = PIECE
    ) -> None:
        self._target = target
        self._digest = digest
        self._content = content
        self._size = size
        self._piece = piece
        self._location = ""
        self.reached = 0

    def go_on(self) -> None:
        """Send all that is not there yet. Call it again after it broke off.

        Raises:
            RegistryFailed, NotInRegistry, NotAuthorized.
        """
        if self._location:
            self._ask()
        if not self._location:
            self._begin()
        while self._size - self.reached > self._piece:
            self._send_piece()
        query = urlencode({"digest": self._digest})
        target = f"{self._location}{'&' if urlsplit(self._location).query else '?'}{query}"
        left = self._size - self.reached
        headers = self._headers(left) if self.reached else _OCTETS
        self._request("PUT", target, headers, left, (201, 204)).close()

    def _begin(self) -> None:
        self.reached = 0
        with self._request("POST", "blobs/uploads/", {}, None, (202,)) as response:
            self._location = self._target.absolute(response.headers.get("location", ""))
            least = response.headers.get("oci-chunk-min-length", "")
        if least.isdigit():
            self._piece = min(max(self._piece, int(least)), _MOST)

    def _ask(self) -> None:
        """How far it came. A registry that does not know, or is confused by a piece that broke off, begins anew."""
        location, self._location = self._location, ""
        with suppress(NotInRegistry, NotAuthorized, RegistryFailed):
            with self._request("GET", location, {}, None, (204,)) as response:
                reached = _reached(response.headers)
                location = self._next(response, location)
            if reached is not None and reached <= self._size:
                self._location, self.reached = location, reached

    def _send_piece(self) -> None:
        length = min(self._piece, self._size - self.reached)
        with self._request("PATCH", self._location, self._headers(length), length, (202, 204)) as response:
            reached = _reached(response.headers)
            self._location = self._next(response, self._location)
        wanted = self.reached + length
        self.reached = wanted if reached is None else reached
        if self.reached != wanted:
            raise RegistryFailed(self._target.host, f"it took {self.reached} bytes of {wanted}", again=True)

    def _headers(self, length: int) -> dict[str, str]:
        return {**_OCTETS, "Content-Range": f"{self.reached}-{self.reached + length - 1}"}

    def _next(self, response: Response, location: str) -> str:
        told = response.headers.get("location", "")
        return self._target.absolute(told) if told else location

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], length: int | None, accepted: tuple[int, ...]
    ) -> Response:
        offset = self.reached
        body = None if length is None else lambda: self._content(offset, length)
        return self._target.request(method, path, self._digest, headers, body, length or 0, accepted)


def _reached(headers: Mapping[str, str]) -> int | None:
    """From "Range: 0-1023". Of nothing and of one byte registries say the same, "0-0": that is nothing."""
    found = re.fullmatch(r"(?:bytes=)?0-(\d+)", headers.get("range", ""))
    if found is None:
        return None
    last = int(found[1])
    return last + 1 if last else 0
