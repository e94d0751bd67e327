"""What images refuse."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.errors import RuntimeFault


class ImageNotFound(RuntimeFault):
    """No image of that name, directory or archive is here."""

    kind = "not_found"

    def __init__(self, ref: str, hint: str) -> None:
        super().__init__(f"there is no image {ref}", hint)
        self.ref = ref


class InvalidImageName(RuntimeFault):
    """A name that cannot be given to an image."""

    kind = "invalid"
    hint = 'use lower-case letters, digits and . _ - / and at most one ":tag", as in lab/router:2'

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"an image cannot be called {name!r}: {why}")


class BadImage(RuntimeFault):
    """It is there, but is nothing a container could have as its root."""

    kind = "invalid"

    def __init__(self, path: str, why: str, hint: str = "") -> None:
        super().__init__(f"{path} is no image: {why}", hint)


class UnsafeArchive(RuntimeFault):
    """An archive whose unpacking would reach outside the image."""

    kind = "invalid"
    hint = "do not use this archive; an honest one (docker export, tar --create) has no such member"

    def __init__(self, member: str, why: str) -> None:
        super().__init__(f"the archive is refused: its member {member!r} {why}")


class UnpackFailed(RuntimeFault):
    """The archive could not be unpacked; nothing of it is left."""

    kind = "unavailable"

    def __init__(self, path: str, why: str, hint: str = "") -> None:
        super().__init__(f"{path} could not be unpacked: {why}", hint)


class TooLarge(RuntimeFault):
    """An archive that unpacks to more than anybody means: a bomb."""

    kind = "invalid"
    hint = "do not use this archive; a few kilobytes that unpack to gigabytes fill the disk of whoever trusts them"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is refused: {why}")


class BlobDamaged(RuntimeFault):
    """Content that is not what its digest says."""

    kind = "unavailable"

    def __init__(self, digest: str, why: str, hint: str = "pull or load the image again") -> None:
        super().__init__(f"blob {digest} is damaged: {why}", hint)
        self.digest = digest


class BlobMissing(RuntimeFault):
    """A part of an image that is not here."""

    kind = "not_found"
    hint = "pull or load the image again"

    def __init__(self, digest: str) -> None:
        super().__init__(f"blob {digest} is not here")


class ImageInUse(RuntimeFault):
    """It is not removed, since something needs it."""

    kind = "conflict"


class NotKept(RuntimeFault):
    """An image whose archive we have no copy of, so that it cannot be given to others."""

    kind = "conflict"

    def __init__(self, image: str, source: str) -> None:
        super().__init__(
            f"image {image} was unpacked from {source}, of which no copy is kept",
            f"import it first: netmodel import {source} NAME",
        )


class CannotCommit(RuntimeFault):
    """A container whose files cannot become an image."""

    kind = "conflict"


def available(names: Sequence[str]) -> str:
    """The hint of ImageNotFound."""
    shown = list(names[:12]) + (["..."] if len(names) > 12 else [])
    return (
        f"here are: {', '.join(shown)}; `netmodel pull` fetches one from a registry; "
        "a directory or a tar archive serves, too (./rootfs, ./rootfs.tar.gz)"
    )
