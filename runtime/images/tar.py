"""Reading a tar archive once, from its beginning to its end, as it comes.

tarfile knows the headers; its own way to read a stream copies what it has read ahead for each of them,
so it gets a window on ours instead.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import cast

from runtime.images.stream import Plain, Source

_LONGEST_HEADER = 1 << 20


def members(stream: Plain) -> Iterator[tuple[tarfile.TarInfo, Source]]:
    """Each member with its content, to be read before the next one is asked for, or not at all.

    Raises:
        tarfile.TarError, EOFError, ValueError: It is no archive, or damaged. And what reading the stream raises.
    """
    window = _Window(stream)
    with tarfile.TarFile(fileobj=window, mode="r", tarinfo=_Member) as tar:  # type: ignore[arg-type]  # it asks for less
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all, 1 KB each
            if member.isreg() and not member.issparse():
                window.seek(member.offset_data)
                yield member, _Content(window, member.size)
            else:
                yield member, cast(Source, tar.extractfile(member) if member.isreg() else _Content(window, 0))


class _Window:
    """As much of a file as tarfile needs: it only ever looks ahead."""

    def __init__(self, stream: Plain) -> None:
        self._stream = stream
        self._ahead = memoryview(b"")
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if position < self._position:
            raise EOFError("it wants to be read backwards")
        while position > self._position and self.some(position - self._position):
            pass
        return self._position

    def read(self, size: int) -> bytes:
        """As many bytes, unless it ends before."""
        if size <= len(self._ahead):
            return bytes(self.some(size))
        pieces = []
        while size and (piece := self.some(size)):
            pieces.append(bytes(piece))
            size -= len(piece)
        return b"".join(pieces)

    def some(self, most: int) -> memoryview:
        """What is at hand, not copied; empty at the end."""
        if not self._ahead:
            self._ahead = memoryview(self._stream.read())
        taken, self._ahead = self._ahead[:most], self._ahead[most:]
        self._position += len(taken)
        return taken


class _Content:
    def __init__(self, window: _Window, size: int) -> None:
        self._window = window
        self._left = size

    def read(self, size: int, /) -> bytes:
        piece = self._window.some(min(size, self._left)) if self._left else b""
        if self._left and not piece:
            raise EOFError("it ends within a file")
        self._left -= len(piece)
        return piece  # type: ignore[return-value]  # a view serves whoever writes or digests it


class _Member(tarfile.TarInfo):
    """A member whose own description is of a reasonable size: tarfile reads it into memory, however long."""

    def _proc_pax(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        return super()._proc_pax(self._small(archive))  # type: ignore[misc,no-any-return]

    def _proc_gnulong(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        return super()._proc_gnulong(self._small(archive))  # type: ignore[misc,no-any-return]

    def _small(self, archive: tarfile.TarFile) -> tarfile.TarFile:
        if self.size > _LONGEST_HEADER:
            raise tarfile.TarError(f"a header of {self.size} bytes")
        return archive
