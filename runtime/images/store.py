"""The images of one engine: the machine itself, directories, and archives unpacked once by their digest.

layers/<digest>/  an archive's root file system, whole or not there
names/<name>      the digest a name stands for
digests/<key>     the digest an archive file had when it was last read
about/<digest>    its size and date
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from runtime.images import host
from runtime.images.archive import unpack
from runtime.images.errors import BadImage, ImageNotFound, InvalidImageName, UnpackFailed, available
from runtime.images.image import Image
from runtime.kernel.beneath import sync_file_system
from runtime.trash import Trash

# Source: the grammar of github.com/distribution/reference, without digests.
_PART = r"[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:{_PART}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?")
_OTHER_FORMATS = ("oci-layout", "manifest.json")


class Images:
    """Args:
    directory: Where unpacked archives are kept; made when first needed.
    engine_root: Hidden from containers of the image "host"; by default the directory above.
    """

    def __init__(self, directory: Path, engine_root: Path | None = None) -> None:
        self._directory = directory
        self._engine_root = directory.parent if engine_root is None else engine_root
        self._layers = directory / "layers"
        self._names = directory / "names"
        self._digests = directory / "digests"
        self._about = directory / "about"
        self._trash = Trash(directory / ".trash")
        self._unpacking = threading.Lock()
        self._discard_unfinished()
        self._trash.sweep()

    def resolve(self, ref: str, base: Path | None = None) -> Image:
        """Find what a user calls an image: "host", a path (/..., ./..., ../...), an imported name, an id.

        Args:
            base: What a relative path starts from; by default the working directory.

        Raises:
            ImageNotFound: With what there is and how else to name an image.
            BadImage, UnsafeArchive, UnpackFailed: A path that is no usable image.
        """
        if ref == host.NAME:
            return host.host_image(self._engine_root)
        if ref.startswith(("/", "./", "../")) or ref in (".", ".."):
            return self._from_path(Path(os.path.normpath((base or Path.cwd()) / ref)), ref)
        digest = self._digest_of(ref)
        if digest is None:
            raise ImageNotFound(ref, self._hint(ref, base))
        return self._unpacked(digest)

    def import_archive(self, path: Path, name: str) -> Image:
        """Unpack an archive, once, and let a name stand for it from now on.

        Raises:
            InvalidImageName, BadImage, UnsafeArchive, UnpackFailed, ImageNotFound.
        """
        tag = _checked(name)
        if not path.is_file():
            raise ImageNotFound(str(path), "name a tar archive that exists")
        digest = self._unpack_once(path)
        _write(self._names / quote(tag, safe=""), digest)
        return self._unpacked(digest)

    def list(self) -> tuple[Image, ...]:
        """The machine itself, then every archive that was unpacked here, by name."""
        images = [self._unpacked(digest) for digest in sorted(_entries(self._layers)) if not digest.startswith(".")]
        return host.host_image(self._engine_root), *sorted(images, key=lambda image: image.names or ("~",))

    def remove(self, ref: str) -> Image:
        """Forget a name; with its last name, or named by its id, an image leaves the disk.

        The caller sees to it that no container uses it.

        Raises:
            ImageNotFound.
            InvalidImageName: "host" is the machine.
        """
        if ref == host.NAME:
            raise InvalidImageName(ref, "that is the machine itself, which stays")
        digest = self._digest_of(ref)
        if digest is None:
            raise ImageNotFound(ref, self._hint(ref, None))
        image = self._unpacked(digest)
        tag = _tagged(ref)
        for name in image.names:
            if name == tag or tag not in image.names:
                (self._names / quote(name, safe="")).unlink(missing_ok=True)
        if set(image.names) <= {tag} or tag not in image.names:
            self._trash.discard(self._layers / digest)
            (self._about / digest).unlink(missing_ok=True)
        return image

    def prune(self, in_use: Collection[str] = ()) -> tuple[Image, ...]:
        """Remove every unpacked archive that has no name and whose id is not in use."""
        unused = [image for image in self.list() if not image.names and image.id not in in_use]
        return tuple(self.remove(image.id) for image in unused)

    def drain(self) -> None:
        """Wait until removed images have left the disk; see Trash.drain()."""
        self._trash.drain()

    # --- paths ----------------------------------------------------------------------------------

    def _from_path(self, path: Path, ref: str) -> Image:
        if path.is_dir():
            return _directory(path)
        if path.is_file():
            return self._unpacked(self._unpack_once(path))
        if path.exists():
            raise BadImage(str(path), "it is neither a directory nor a tar archive")
        raise ImageNotFound(ref, f"{path} does not exist; " + available(self._known()))

    def _unpack_once(self, path: Path) -> str:
        """The digest of an archive whose layer is there afterwards."""
        try:
            with open(path, "rb") as archive, self._unpacking:
                return self._unpack(archive, path)
        except PermissionError as error:
            raise UnpackFailed(str(path), os.strerror(error.errno or 0).lower()) from error

    def _unpack(self, archive: BufferedReader, path: Path) -> str:
        before = _identity(archive)
        record = self._digests / hashlib.sha256(os.fsencode(path)).hexdigest()
        known = _read_json(record)
        if known.get("identity") == before and os.path.isdir(self._layers / known["digest"]):
            return str(known["digest"])
        digest = hashlib.file_digest(archive, "sha256").hexdigest()
        if not os.path.isdir(self._layers / digest):
            archive.seek(0)
            with self._new_layer() as (layer, descriptor):
                size = unpack(archive, str(path), descriptor).size_bytes
                _check_format(descriptor, str(path))
                if _identity(archive) != before:
                    raise UnpackFailed(str(path), "it was changed meanwhile", "try again")
                # A name must never stand for half a layer, not even after a power cut.
                sync_file_system(descriptor)
                about = {"size": size, "created": datetime.now(UTC).isoformat(), "source": str(path)}
                _write(self._about / digest, json.dumps(about))
                os.rename(layer, self._layers / digest)
        _write(record, json.dumps({"identity": before, "digest": digest}))
        return digest

    @contextlib.contextmanager
    def _new_layer(self) -> Iterator[tuple[Path, int]]:
        """An empty directory beside the layers; what the block leaves there is discarded."""
        os.makedirs(self._layers, 0o700, exist_ok=True)
        layer = self._layers / f".{secrets.token_hex(8)}"
        os.mkdir(layer, 0o755)
        descriptor = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Held while we work: what nobody holds is a crash's, see _discard_unfinished().
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield layer, descriptor
        finally:
            self._trash.discard(layer)
            os.close(descriptor)

    def _discard_unfinished(self) -> None:
        for name in _entries(self._layers):
            if name.startswith("."):
                descriptor = os.open(self._layers / name, os.O_RDONLY | os.O_CLOEXEC)
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._trash.discard(self._layers / name)
                os.close(descriptor)

    # --- names ----------------------------------------------------------------------------------

    def _digest_of(self, ref: str) -> str | None:
        """What a name, an id or the beginning of an id stands for."""
        with contextlib.suppress(FileNotFoundError):
            digest = (self._names / quote(_tagged(ref), safe="")).read_text()
            if os.path.isdir(self._layers / digest):
                return digest
        wanted = ref.removeprefix("sha256:")
        if len(wanted) < 6 or not re.fullmatch(r"[0-9a-f]+", wanted):
            return None
        found = [digest for digest in _entries(self._layers) if digest.startswith(wanted)]
        return found[0] if len(found) == 1 else None

    def _known(self) -> tuple[str, ...]:
        return host.NAME, *sorted(unquote(name) for name in _entries(self._names))

    def _hint(self, ref: str, base: Path | None) -> str:
        if ((base or Path.cwd()) / ref).exists():
            return f"write ./{ref} to use the file or directory of that name"
        return available(self._known())

    def _unpacked(self, digest: str) -> Image:
        names = []
        for name in _entries(self._names):
            with contextlib.suppress(FileNotFoundError):
                if (self._names / name).read_text() == digest:
                    names.append(unquote(name))
        about = _read_json(self._about / digest)
        return Image(
            id=f"sha256:{digest}",
            names=tuple(sorted(names)),
            layers=(str(self._layers / digest),),
            created_at=datetime.fromisoformat(about.get("created", "1970-01-01T00:00:00+00:00")),
            size_bytes=about.get("size", 0),
        )


def _directory(path: Path) -> Image:
    """A directory as it is now and as it will be: nothing is copied."""
    real = os.path.realpath(path)
    if real == "/":
        raise BadImage(real, "the machine's root as it is would show the containers themselves", 'use the image "host"')
    return Image(
        id="sha256:" + hashlib.sha256(os.fsencode(real)).hexdigest(),
        names=(),
        layers=(real,),
        created_at=datetime.fromtimestamp(os.stat(real).st_mtime, UTC),
    )


def _check_format(descriptor: int, path: str) -> None:
    top = set(os.listdir(descriptor))
    if top & set(_OTHER_FORMATS) and not top & {"bin", "usr", "etc"}:
        raise BadImage(
            path,
            "it holds an image's layers and manifest, not a root file system",
            "make a plain one: docker export CONTAINER > rootfs.tar; such archives come with a later version",
        )


def _tagged(name: str) -> str:
    """Docker's rule: no tag is the tag "latest"."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _checked(name: str) -> str:
    if name.partition(":")[0] == host.NAME:
        raise InvalidImageName(name, "that is the machine itself")
    if not _NAME.fullmatch(name) or len(name) > 250:
        raise InvalidImageName(name, "it has characters or a form that names do not have")
    return _tagged(name)


def _identity(archive: BufferedReader) -> list[int]:
    """What changes when a file's content does."""
    status = os.fstat(archive.fileno())
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # missing, or cut short by a power failure: learned again
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, text: str) -> None:
    """Replace a small file in one step."""
    os.makedirs(path.parent, 0o700, exist_ok=True)
    # Not in its place's directory, where a listing would show it.
    fresh = path.parent.parent / f".{secrets.token_hex(8)}"
    fresh.write_text(text)
    os.rename(fresh, path)
