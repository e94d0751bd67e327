"""Layers: unpacked once, kept by their chain id, shared by every image that has the same ones below.

layers/<chain>/   what the graph driver made of a layer; whole, or not there
about/<chain>     its size

Source of chain ids: OCI image-spec config.md, "Layer ChainID".
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runtime.images.blobs import hex_of
from runtime.images.errors import BlobDamaged
from runtime.images.graphdriver import GraphDriver
from runtime.images.settling import Settling
from runtime.images.stream import Limits, Source
from runtime.trash import Trash

KIND = "layer"


class Layers:
    """Args:
    directory: Of the image store.
    """

    def __init__(self, directory: Path, driver: GraphDriver, settling: Settling, trash: Trash) -> None:
        self.driver = driver
        self._layers = directory / "layers"
        self._about = directory / "about"
        self._settling = settling
        self._trash = trash
        # One layer at a time: reading ahead and unpacking keep two processors busy already.
        self._unpacking = threading.Lock()

    def path(self, chain: str) -> Path:
        return self._layers / chain

    def has(self, chain: str) -> bool:
        return os.path.isdir(self._layers / chain)

    def size(self, chain: str) -> int:
        """Of the files' contents in it."""
        return int(read_json(self._about / chain).get("size", 0))

    def list(self) -> list[str]:
        return [name for name in entries(self._layers) if not name.startswith(".")]

    def stack(self, chains: Sequence[str]) -> tuple[str, ...]:
        """What a container mounts, the topmost first."""
        return self.driver.stack([self._layers / chain for chain in chains])

    def add(
        self,
        below: Sequence[str],
        diff_id: str,
        archive: Source,
        name: str,
        *,
        limits: Limits | None = None,
    ) -> tuple[str, str]:
        """Unpack a layer, unless it is there.

        Args:
            below: The chain ids under it, the lowest first.
            diff_id: What it must be; "" learns it.

        Returns:
            Its chain id and its diff id.

        Raises:
            BlobDamaged: It is another; nothing is kept. And what unpack() raises.
        """
        with self._unpacking:
            if diff_id and self.has(chain := chain_id(below, diff_id)):
                return chain, diff_id
            with self._fresh() as (place, descriptor):
                paths = [self._layers / one for one in below]
                result = self.driver.apply(descriptor, paths, archive, name, limits or Limits())
                if diff_id and result.digest != diff_id:
                    raise BlobDamaged(diff_id, f"{name} unpacks to {result.digest}")
                chain = chain_id(below, result.digest)
                if not self.has(chain):
                    write_json(self._about / chain, {"size": result.size_bytes, "left_out": result.left_out})
                    self._settling.expect(KIND, chain)
                    os.rename(place, self._layers / chain)
                    self._settling.settle()
        return chain, result.digest

    def delete(self, chain: str) -> None:
        """Make it disappear now and leave the disk soon."""
        self._trash.discard(self._layers / chain)
        (self._about / chain).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Discard what a crash left half unpacked."""
        for name in entries(self._layers):
            if name.startswith("."):
                descriptor = os.open(self._layers / name, os.O_RDONLY | os.O_CLOEXEC)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._trash.discard(self._layers / name)
                os.close(descriptor)

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[tuple[Path, int]]:
        """An empty directory beside the layers; what the block leaves there is discarded."""
        os.makedirs(self._layers, 0o700, exist_ok=True)
        layer = self._layers / f".{secrets.token_hex(8)}"
        os.mkdir(layer, 0o755)
        descriptor = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Held while we work: what nobody holds is a crash's, see sweep().
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield layer, descriptor
        finally:
            self._trash.discard(layer)
            os.close(descriptor)


def chain_id(below: Sequence[str], diff_id: str) -> str:
    """The digits of the chain id of a layer on others, given by theirs."""
    if not below:
        return hex_of(diff_id)
    return hashlib.sha256(f"sha256:{below[-1]} {diff_id}".encode()).hexdigest()


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """Of all layers of an image, the lowest first."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(chain_id(chains, diff_id))
    return tuple(chains)


def entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # missing, or cut short by a power failure: learned again
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, value: Any) -> None:
    """Replace a small file in one step."""
    os.makedirs(path.parent, 0o700, exist_ok=True)
    # Not in its place's directory, where a listing would show it.
    fresh = path.parent.parent / f".{secrets.token_hex(8)}"
    fresh.write_text(json.dumps(value))
    os.rename(fresh, path)
