"""The images of one engine: the machine itself, directories, archives unpacked once, and what was loaded or pulled.

blobs/ partial/    archives of layers, configurations, manifests: see blobs.py
layers/ about/     layers unpacked: see layers.py
records/ names/    what images there are: see catalog.py
digests/ archives/ what became of archives of root file systems: see flat.py
unsettled/         what may not have reached the disk: see settling.py
driver             the graph driver's name
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.images import commit, host, load, save
from runtime.images import config as configs
from runtime.images.blobs import hex_of
from runtime.images.catalog import ImageRecord, LayerRecord
from runtime.images.commit import Written
from runtime.images.errors import (
    BadImage,
    CannotCommit,
    ImageNotFound,
    InvalidImageName,
)
from runtime.images.image import Image
from runtime.images.layers import chain_ids
from runtime.images.manifest import Platform
from runtime.images.progress import Silent, Tell
from runtime.images.reference import Reference
from runtime.images.removal import Removed
from runtime.images.shelf import Shelf
from runtime.images.stream import Source


class Images(Shelf):
    """What is here, and all that changes it."""

    # --- add ------------------------------------------------------------------------------------

    def import_archive(self, path: Path, name: str) -> Image:
        """Unpack an archive, once, keep a copy of it, and let a name stand for it from now on.

        Raises:
            InvalidImageName, BadImage, UnsafeArchive, TooLarge, UnpackFailed, ImageNotFound.
        """
        _checked(name)
        if not path.is_file():
            raise ImageNotFound(str(path), "name a tar archive that exists")
        with open(path, "rb") as archive:
            return self.import_stream(archive, str(path), name)

    def import_stream(
        self, archive: Source, source: str, name: str = "", changes: Mapping[str, Any] | None = None
    ) -> Image:
        """Make an image of one layer out of the archive of a root file system.

        Args:
            source: Where it came from, for messages and its history.
            name: "" leaves it without.
            changes: Members of its configuration, as Cmd and Env.
        """
        tag = _checked(name) if name else ""
        with self.removal.working():
            blob = self.blobs.receive(archive)
            self.removal.consider(blobs=[blob])  # should it fail
            record = self._flat.kept(blob, source, changes)
            if tag:
                self.catalog.name(tag, record.id)
            return self.image(record)

    def load(self, archive: Source, source: str = "the archive", tell: Tell | None = None) -> tuple[Image, ...]:
        """Take in the images of an archive that Docker, podman, skopeo or we have saved.

        Raises:
            BadImage, BlobDamaged, TooLarge, UnsafeArchive, UnpackFailed.
        """
        progress = tell or Silent
        with self.removal.working():
            platform = Platform(configs.architecture())

            def told(path: str, done: int, total: int) -> None:
                progress(status="Loading layer", id=os.path.basename(path)[:12], current=done, total=total)

            added: list[str] = []
            images: dict[str, Image] = {}
            try:
                for one in load.read(self.blobs, archive, source, platform, added, told):
                    image = self.register(
                        one.config, one.layers, source, one.manifest, one.manifest_type, one.names, tell=tell
                    )
                    images[image.id] = image
            finally:
                self.removal.consider(blobs=added)
            return tuple(images.values())

    def register(
        self,
        config: bytes,
        layers: Sequence[str],
        source: str,
        manifest: str = "",
        manifest_type: str = "",
        names: Sequence[str] = (),
        tell: Tell | None = None,
    ) -> Image:
        """Make an image of blobs that are here, and give it names.

        Args:
            layers: Digests of blobs, the lowest first.
            source: For messages.

        Raises:
            BadImage: Configuration and layers do not belong together.
            BlobDamaged: A layer is not what the configuration says. And what unpacking raises.
        """
        with self.removal.working():
            record = replace(self.record(config, layers, source), manifest=manifest, manifest_type=manifest_type)
            # Should it fail, these are nobody's.
            self.removal.consider(record.chains, (record.id,))
            self._unpack_all(record, tell)
            known = self.catalog.get(record.id)
            if known and known.manifest and manifest in ("", known.manifest) and all(one.blob for one in known.layers):
                record = replace(known, added_at="")  # as it came before: its digests are known elsewhere
            self.catalog.put(record)
            for name in names:
                self.catalog.name(name, record.id)
            return self.image(record)

    def check_commit(self, ref: str, name: str = "") -> str:
        """Refuse what commit() would refuse whatever was written; returns the whole name.

        Raises:
            InvalidImageName.
            CannotCommit: A container of the machine itself has nothing that could be given away.
        """
        if host.is_meant(ref):
            raise CannotCommit(
                "a container of the machine itself has no image to build on",
                "netmodel diff shows what it has changed, and netmodel cp takes what you name",
            )
        return _checked(name) if name else ""

    def commit(self, ref: str, written: Written, name: str = "") -> Image:
        """Make an image of what a container has written on the image of this name, id or path.

        Args:
            name: "" leaves it without.

        Raises:
            InvalidImageName, ImageNotFound, UnpackFailed.
            CannotCommit: See check_commit().
        """
        tag = self.check_commit(ref, name)
        with self.removal.working():
            base = None if ref.startswith(("/", ".")) else self.find(ref)
            if base is not None and all(layer.blob for layer in base.layers):
                config, layers, fresh = commit.on_top(self.blobs, base, written)
            else:
                config, layers, fresh = commit.flattened(self.blobs, self.resolve(ref).layers, written)
            self.removal.consider(blobs=fresh)  # should it fail
            return self.register(config, layers, "the container", names=(tag,) if tag else ())

    def record(self, config: bytes, layers: Sequence[str], source: str, *, media_types: bool = True) -> ImageRecord:
        """What an image of this configuration and these blobs is to be, its configuration kept.

        Args:
            media_types: Look for them, for which the blobs must be here.

        Raises:
            BadImage: They do not belong together.
        """
        parsed = configs.parse(config, source)
        configs.values(parsed, source)
        diff_ids = configs.diff_ids(parsed)
        if len(diff_ids) != len(layers):
            raise BadImage(source, f"its configuration speaks of {len(diff_ids)} layers, its manifest of {len(layers)}")
        for diff_id in diff_ids:
            hex_of(diff_id)
        kind = self.blobs.layer_type if media_types else lambda _: ""
        return ImageRecord(
            id=self.blobs.put(config),
            layers=tuple(
                LayerRecord(chain=chain, diff_id=diff_id, blob=blob, media_type=kind(blob))
                for chain, diff_id, blob in zip(chain_ids(diff_ids), diff_ids, layers, strict=True)
            ),
        )

    def tag(self, ref: str, name: str) -> Image:
        """Give an image a further name, which it takes from the image that has it.

        Raises:
            ImageNotFound, InvalidImageName.
        """
        tag = _checked(name)
        record = self.find(ref)
        self.catalog.name(tag, record.id)
        return self.image(record)

    # --- give -----------------------------------------------------------------------------------

    def save(self, refs: Sequence[str]) -> Iterator[bytes]:
        """An archive of images, piece by piece; each is found before the first piece.

        Raises:
            ImageNotFound, NotKept, BlobMissing, BlobDamaged.
        """
        names: dict[str, list[str]] = {}
        for ref in refs:
            record = self.find(ref)
            own = names.setdefault(record.id, [])
            with contextlib.suppress(InvalidImageName):
                reference = Reference.parse(ref)
                if self.catalog.named(reference.name) == record.id and not reference.digest:
                    own.append(reference.familiar)
        wanted = [(self.find(image_id), tuple(dict.fromkeys(own))) for image_id, own in names.items()]
        for record, _ in wanted:
            save.manifest_of(self.blobs, record)
        return save.save(self.blobs, wanted)

    # --- remove ---------------------------------------------------------------------------------

    def remove(self, ref: str, *, keep: bool = False) -> Removed:
        """Forget a name; with its last name, or named by its id, an image leaves the disk.

        The caller sees to it that no container uses it.

        Args:
            keep: Forget the name only, even if it was the last.

        Raises:
            ImageNotFound.
            InvalidImageName: "host" is the machine.
        """
        if host.is_meant(ref):
            raise InvalidImageName(ref, "that is the machine itself, which stays")
        record = self.find(ref)
        name = ""
        with contextlib.suppress(InvalidImageName):
            name = Reference.parse(ref).name
        removed = self.removal.remove(record, name, keep=keep)
        if removed.deleted:
            self._images.pop(record.id, None)
        return removed

    def prune(self, in_use: Collection[str] = (), *, named: bool = False) -> tuple[Image, ...]:
        """Remove every image that has no tag and whose id is not in use, and blobs and layers that no image needs.

        Args:
            named: Those that have one, too.
        """
        unused = [image for image in self.list()[1:] if (named or not image.names) and image.id not in in_use]
        for image in unused:
            self.remove(image.id)
        self.removal.orphans()
        return tuple(unused)

    def drain(self) -> None:
        """Wait until removed images have left the disk and new ones have reached it; see Trash.drain()."""
        self.settling.drain()
        self._trash.drain()


def _checked(name: str) -> str:
    reference = Reference.parse(name)
    if reference.familiar_repository == host.NAME:
        raise InvalidImageName(name, "that is the machine itself")
    if reference.digest:
        raise InvalidImageName(name, "a digest is not given, it is what an image has")
    return reference.familiar
