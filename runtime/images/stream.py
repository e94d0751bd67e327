"""Reading an archive that may be compressed: a thread reads ahead, decompresses and digests.

Both digest and decompression let go of the interpreter, so with two processors the unpacking beside
them costs no more time than the slower of the two.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import queue
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Protocol

from runtime.images.errors import BadImage, TooLarge

CHUNK = 1 << 20
_AHEAD = 8
_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
)


class Source(Protocol):
    """Whatever can be read once from its beginning: a file, a pipe, a body on its way."""

    def read(self, size: int, /) -> bytes: ...


class Joined:
    """Pieces to be read as a stream; a read gives what there is, however much was asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int, /) -> bytes:
        return next((piece for piece in self._pieces if piece), b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an archive may unpack to.

    Args:
        ratio: Bytes unpacked for each byte read, once more than free_bytes came out. Deflate reaches 1032,
            and only with content that says nothing; layers of real images stay below 20.
        members: Files, directories and links together.
    """

    size_bytes: int = 1 << 37
    ratio: int = 200
    free_bytes: int = 256 << 20
    members: int = 4_000_000

    def check(self, name: str, read: int, unpacked: int) -> None:
        """Raises: TooLarge."""
        if unpacked > self.size_bytes:
            raise TooLarge(name, f"it unpacks to more than {self.size_bytes >> 30} GiB")
        if unpacked > self.free_bytes and unpacked > read * self.ratio:
            raise TooLarge(name, f"{read} bytes of it unpack to {unpacked >> 20} MiB and more")


def compression_of(head: bytes) -> str:
    """By content: "gzip", "zstd", "bzip2", "xz" or ""; at least six bytes tell."""
    return next((kind for magic, kind in _MAGICS if head.startswith(magic)), "")


class Plain:
    """An archive without its compression. Close it when done, whether or not it was read to its end.

    Args:
        name: For messages.
        digest: Also compute the digest of what comes out.

    Attributes:
        consumed: Bytes of the source read so far.
        size: Bytes that came out so far.
        digest: "sha256:..." of all that came out, after the end.
    """

    def __init__(self, source: Source, name: str, limits: Limits | None = None, *, digest: bool = True) -> None:
        self._source = source
        self._name = name
        self._limits = limits or Limits()
        self._hash = hashlib.sha256() if digest else None
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._rest = memoryview(b"")
        self._closed = threading.Event()
        self._ended = False
        self.consumed = 0
        self.size = 0
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self._thread.start()

    @property
    def digest(self) -> str:
        assert self._hash is not None
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int = CHUNK, /) -> bytes:
        """Up to size bytes; b"" is the end.

        Raises:
            BadImage: The compression is damaged. TooLarge, OSError.
        """
        if not self._rest:
            if self._ended:
                return b""
            chunk = self._chunks.get()
            if not isinstance(chunk, bytes):
                self._ended = True
                if chunk is None:
                    return b""
                raise chunk
            if len(chunk) <= size:
                return chunk
            self._rest = memoryview(chunk)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def drain(self) -> None:
        """Read what is left: the digest covers all, also what follows an archive's last member."""
        while self.read():
            pass

    def close(self) -> None:
        self._closed.set()
        while self._thread.is_alive():
            try:  # make room, so that the thread notices
                self._chunks.get(timeout=0.01)
            except queue.Empty:
                continue

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        try:
            for chunk in self._decompressed():
                self.size += len(chunk)
                self._limits.check(self._name, self.consumed, self.size)
                if self._hash is not None:
                    self._hash.update(chunk)
                if not self._put(chunk):
                    return
        except (zlib.error, lzma.LZMAError, EOFError) as error:
            self._put(BadImage(self._name, f"its compression is damaged ({error})"))
        except BaseException as error:
            self._put(error)
        else:
            self._put(None)

    def _put(self, chunk: bytes | BaseException | None) -> bool:
        if self._closed.is_set():
            return False
        self._chunks.put(chunk)
        return True

    def _raw(self, first: bytes = b"") -> Iterator[bytes]:
        if first:
            yield first
        while chunk := self._source.read(CHUNK):
            self.consumed += len(chunk)
            yield chunk
            if self._closed.is_set():
                return

    def _decompressed(self) -> Iterator[bytes]:
        head = b""
        while len(head) < 6 and (more := self._source.read(CHUNK)):
            head += more
        self.consumed = len(head)
        kind = compression_of(head)
        if kind == "zstd":
            yield from _zstd(self._raw(head), self._name)
        elif kind:
            yield from _members(kind, self._raw(head))
        else:
            yield from self._raw(head)


def _members(kind: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress in pieces of bounded size: one chunk of a bomb is a gigabyte. Members may follow each other."""
    decoder = _Decoder(kind)
    for chunk in chunks:
        yield from decoder.feed(chunk)
    if not decoder.at_end:
        raise EOFError("it ends too early")


class _Decoder:
    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._fresh()
        self._begun = False

    @property
    def at_end(self) -> bool:
        return not self._begun

    def _fresh(self) -> None:
        self._zlib = zlib.decompressobj(31) if self._kind == "gzip" else None
        self._other = bz2.BZ2Decompressor() if self._kind == "bzip2" else lzma.LZMADecompressor()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while True:
            if not self._begun:
                # Padding after the last member, as `tar --record-size` and tapes leave it.
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return
                self._fresh()
                self._begun = True
            if self._zlib is not None:
                piece = self._zlib.decompress(chunk, CHUNK)
                chunk, over = self._zlib.unconsumed_tail, self._zlib.eof
                more = bool(chunk) or len(piece) == CHUNK
                after = self._zlib.unused_data
            else:
                piece = self._other.decompress(chunk, CHUNK)
                chunk, over = b"", self._other.eof
                more = not over and not self._other.needs_input
                after = self._other.unused_data if over else b""
            if piece:
                yield piece
            if over:
                self._begun = False
                chunk = after
            elif not more:
                return


def _zstd(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Python's library does not know zstd; the program does."""
    program = shutil.which("zstd")
    if program is None:
        raise BadImage(name, "it is compressed by zstd, which this machine cannot read", "apt install zstd")
    pipe = subprocess.PIPE
    with subprocess.Popen([program, "-dcq"], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=_feed, args=(chunks, process.stdin), name="zstd", daemon=True)
        feeder.start()
        try:
            while piece := os.read(process.stdout.fileno(), CHUNK):
                yield piece
        except BaseException:  # nobody wants the rest
            process.kill()
            raise
        finally:
            process.stdout.close()
            feeder.join()
        if process.wait() != 0:
            raise EOFError("zstd cannot read it")


def _feed(chunks: Iterator[bytes], pipe: IO[bytes]) -> None:
    with suppress(OSError), pipe:  # it may have given up
        for chunk in chunks:
            pipe.write(chunk)
