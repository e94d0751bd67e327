"""Content-addressed blobs: layers as they came, configurations, manifests; each whole, or not there.

blobs/sha256/<digest>   whole and verified
partial/<digest>        on its way; a download goes on where it ended
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import cast

from runtime.images.errors import BlobDamaged, BlobMissing
from runtime.images.manifest import layer_type
from runtime.images.settling import Settling
from runtime.images.stream import CHUNK, Source, compression_of

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
KIND = "blob"


def hex_of(digest: str) -> str:
    """The digits of a digest, safe as a file's name.

    Raises:
        BlobDamaged: It is none of ours; "sha512:..." neither.
    """
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise BlobDamaged(repr(digest[:80]), "that is no sha256 digest", "get the image from somebody else")
    return match[1]


class Blobs:
    """Args:
    directory: Of the image store.
    """

    def __init__(self, directory: Path, settling: Settling) -> None:
        self._whole = directory / "blobs/sha256"
        self._partial = directory / "partial"
        self._settling = settling

    # --- read -----------------------------------------------------------------------------------

    def path(self, digest: str) -> Path:
        return self._whole / hex_of(digest)

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Raises: BlobMissing."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise BlobMissing(digest) from None

    def open(self, digest: str) -> BufferedReader:
        """Raises: BlobMissing."""
        try:
            return cast(BufferedReader, open(self.path(digest), "rb", buffering=CHUNK))
        except FileNotFoundError:
            raise BlobMissing(digest) from None

    def layer_type(self, digest: str) -> str:
        """The media type of a blob that is a layer, by its compression."""
        with self.open(digest) as file:
            kind = compression_of(file.read(6))
        return layer_type(kind if kind in ("gzip", "zstd") else "")

    def read(self, digest: str) -> bytes:
        """A small blob, verified.

        Raises:
            BlobMissing, BlobDamaged: It is removed then, to be got again.
        """
        with self.open(digest) as file:
            content = file.read()
        if digest_of(content) != digest:
            self.delete(digest)
            raise BlobDamaged(digest, "its content is not what it was")
        return content

    def list(self) -> list[str]:
        """The digests of all."""
        with suppress(FileNotFoundError):
            return [f"sha256:{name}" for name in os.listdir(self._whole) if not name.startswith(".")]
        return []

    # --- write ----------------------------------------------------------------------------------

    def put(self, content: bytes) -> str:
        """Keep a small blob; returns its digest."""
        digest = digest_of(content)
        if not self.has(digest):
            with self._fresh() as (path, descriptor):
                os.write(descriptor, content)
                self._commit(path, digest)
        return digest

    def receive(self, source: Source, expected: str = "", told: Callable[[int], None] | None = None) -> str:
        """Keep what a stream brings; returns its digest.

        Args:
            expected: What it must be.
            told: Called with the bytes so far.

        Raises:
            BlobDamaged: It is not what was expected; nothing is kept.
        """
        with self._fresh() as (path, descriptor):
            digest, size = hashlib.sha256(), 0
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                write_all(descriptor, chunk)
                if told is not None:
                    told(size)
            found = f"sha256:{digest.hexdigest()}"
            if expected and found != expected:
                raise BlobDamaged(expected, f"what came has the digest {found}", "get the image from somebody else")
            if not self.has(found):
                self._commit(path, found)
        return found

    @contextmanager
    def downloading(self, digest: str) -> Iterator[tuple[int, Callable[[], None]]]:
        """A file to append a download to, with what an earlier one left in it; and the call that makes it whole.

        Only one holds it at a time; who waited for another finds the blob whole, perhaps.
        """
        os.makedirs(self._partial, 0o700, exist_ok=True)
        path = self._partial / hex_of(digest)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor, lambda: self._commit(path, digest)
        finally:
            os.close(descriptor)

    def drop_partial(self, digest: str) -> None:
        (self._partial / hex_of(digest)).unlink(missing_ok=True)

    def delete(self, digest: str) -> int:
        """Remove a blob; returns the bytes that frees."""
        try:
            size = self.path(digest).stat().st_size
            self.path(digest).unlink()
        except FileNotFoundError:
            return 0
        return size

    def sweep(self) -> None:
        """Remove what a crash left half-written, downloads excepted."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self._whole):
                if name.startswith("."):
                    (self._whole / name).unlink(missing_ok=True)

    def drop_partials(self) -> int:
        """Give up all downloads that are not under way; returns the bytes that frees."""
        freed = 0
        with suppress(FileNotFoundError):
            for name in os.listdir(self._partial):
                with open(self._partial / name, "rb") as file, suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    freed += os.fstat(file.fileno()).st_size
                    (self._partial / name).unlink(missing_ok=True)
        return freed

    def partial_bytes(self) -> int:
        with suppress(FileNotFoundError):
            return sum((self._partial / name).stat().st_size for name in os.listdir(self._partial))
        return 0

    def verify(self, digest: str) -> bool:
        """Read a blob again; one whose content is not its digest's is removed."""
        with suppress(BlobMissing), self.open(digest) as file:
            if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest:
                return True
        self.delete(digest)
        return False

    @contextmanager
    def _fresh(self) -> Iterator[tuple[Path, int]]:
        os.makedirs(self._whole, 0o700, exist_ok=True)
        path = self._whole / f".{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield path, descriptor
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)

    def _commit(self, path: Path, digest: str) -> None:
        os.makedirs(self._whole, 0o700, exist_ok=True)
        self._settling.expect(KIND, hex_of(digest))
        os.rename(path, self.path(digest))
        self._settling.settle()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: a write may be short, on a full disk for one."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
