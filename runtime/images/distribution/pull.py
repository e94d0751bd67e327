"""Pulling an image: the manifest that fits, its layers side by side, each verified and unpacked as it is whole.

A layer that is whole is kept whatever happens next; one that is not goes on where it ended.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from runtime.errors import RuntimeFault
from runtime.images import config as configs
from runtime.images import manifest as manifests
from runtime.images.blobs import hex_of, write_all
from runtime.images.distribution.attempts import persist
from runtime.images.distribution.transfer import Transfer
from runtime.images.errors import BadImage, BlobDamaged
from runtime.images.image import Image
from runtime.images.manifest import Descriptor, Index, Manifest, Platform
from runtime.images.progress import Silent, Tell
from runtime.images.reference import Reference
from runtime.images.registry import RegistryFailed, Repository
from runtime.images.shelf import short
from runtime.images.stream import CHUNK

_PARALLEL = 3
_LARGEST_CONFIG = 8 << 20


class Pull(Transfer):
    """Brings an image here; what another killed pull had finished is used."""

    def run(self, reference: Reference, platform: Platform | None = None) -> Image:
        """Pull what a reference names, and let its name stand for it.

        Args:
            platform: By default this machine's.

        Raises:
            NotInRegistry, NotAuthorized, RegistryFailed, BadImage, BlobDamaged; what unpacking raises.
        """
        platform = platform or Platform(configs.architecture())
        self._tell(status=f"Pulling from {reference.path}", id=reference.tag or reference.digest)
        with self._images.removal.working():
            try:
                return self._pull(reference, platform)
            finally:
                self._given_up.set()

    def _pull(self, reference: Reference, platform: Platform) -> Image:
        sources, content, media_type = self._find(reference)
        digest = self._images.blobs.put(content)
        manifest = manifests.parse(content, media_type, str(reference))
        own = digest
        if isinstance(manifest, Index):
            chosen = manifest.pick(str(reference), platform)
            hex_of(chosen.digest)
            inner, inner_type = self._manifest(sources, chosen.digest)
            own = self._images.blobs.put(inner)
            manifest = manifests.parse(inner, chosen.media_type or inner_type, str(reference))
            if isinstance(manifest, Index):
                raise BadImage(str(reference), "its index leads to another index")
        before = self._images.catalog.named(reference.name)
        image = self._fetch(reference, sources, manifest, own)
        self._images.catalog.name(reference.with_digest(digest).name, image.id)
        self._tell(status=f"Digest: {digest}")
        newer = "Image is up to date" if before == image.id else "Downloaded newer image"
        self._tell(status=f"Status: {newer} for {reference}")
        return self._images.resolve(image.id)

    # --- manifest -------------------------------------------------------------------------------

    def _sources(self, reference: Reference) -> list[Repository]:
        """The mirrors, then the registry itself; only that one learns who we are."""
        mirrors = self._transport.registries.mirrors.get(reference.domain, ())
        return [
            *(Repository(self._transport, reference.domain, reference.path, base=url) for url in mirrors),
            Repository(self._transport, reference.domain, reference.path, self._credentials),
        ]

    def _find(self, reference: Reference) -> tuple[list[Repository], bytes, str]:
        """The manifest, and who may be asked for the rest: who had it and those after."""
        sources = self._sources(reference)
        wanted = reference.digest or reference.tag
        for number, source in enumerate(sources[:-1]):
            with suppress(RuntimeFault):  # a mirror that is down or wrong is as good as none
                return sources[number:], *source.manifest(wanted)
        last = sources[-1]
        return [last], *persist(lambda: last.manifest(wanted), self._given_up)

    def _manifest(self, sources: Sequence[Repository], digest: str) -> tuple[bytes, str]:
        for source in sources[:-1]:
            with suppress(RuntimeFault):
                return source.manifest(digest)
        return persist(lambda: sources[-1].manifest(digest), self._given_up)

    # --- layers ---------------------------------------------------------------------------------

    def _fetch(self, reference: Reference, sources: Sequence[Repository], manifest: Manifest, own: str) -> Image:
        config_type = manifest.config.media_type
        if config_type and "image" not in config_type:
            raise BadImage(str(reference), f"it is no image but {config_type}")
        if manifest.config.size > _LARGEST_CONFIG:
            raise BadImage(str(reference), f"its configuration has {manifest.config.size} bytes")
        for layer in (manifest.config, *manifest.layers):
            hex_of(layer.digest)
        layers = {layer.digest: layer for layer in manifest.layers}
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="pull") as pool:
            try:
                for digest in layers:
                    self._tell(status="Pulling fs layer", id=short(digest))
                config_there = pool.submit(self._download, sources, manifest.config, quiet=True)
                there = {digest: pool.submit(self._download, sources, layer) for digest, layer in layers.items()}
                config_there.result()
                config = self._images.blobs.read(manifest.config.digest)
                self._unpack(reference, config, manifest, {digest: one.result for digest, one in there.items()})
            except BaseException:
                self._given_up.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return self._images.register(
            config,
            [layer.digest for layer in manifest.layers],
            str(reference),
            own,
            manifest.media_type,
            (reference.name,),
        )

    def _unpack(
        self, reference: Reference, config: bytes, manifest: Manifest, there: Mapping[str, Callable[[], None]]
    ) -> None:
        """Each layer as soon as it is whole and those below it are unpacked, while others are on their way."""
        blobs = [layer.digest for layer in manifest.layers]
        record = self._images.record(config, blobs, str(reference), media_types=False)
        for number, digest in enumerate(blobs):
            there[digest]()  # waits
            self._images.unpack(record, number, self._tell)
            self._tell(status="Pull complete", id=short(digest))

    def _download(self, sources: Sequence[Repository], blob: Descriptor, quiet: bool = False) -> None:
        tell = Silent if quiet else self._tell
        if self._images.blobs.has(blob.digest):
            tell(status="Already exists", id=short(blob.digest))
            return
        for source in sources[:-1]:
            with suppress(RuntimeFault):
                self._get(source, blob, tell)
                return
        self._get(sources[-1], blob, tell)

    def _get(self, source: Repository, blob: Descriptor, tell: Tell) -> None:
        with self._images.blobs.downloading(blob.digest) as (descriptor, commit):
            if self._images.blobs.has(blob.digest):  # somebody else was quicker
                tell(status="Already exists", id=short(blob.digest))
                return
            download = _Download(source, blob, descriptor, tell)
            try:
                persist(lambda: download.go_on(self._given_up), self._given_up, lambda: download.reached)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    os.ftruncate(descriptor, 0)  # others need the room
                raise
            tell(status="Download complete", id=short(blob.digest))
            commit()


class _Download:
    """One blob on its way into one file."""

    def __init__(self, source: Repository, blob: Descriptor, descriptor: int, tell: Tell) -> None:
        self._source = source
        self._blob = blob
        self._descriptor = descriptor
        self._tell = tell
        self.reached = 0
        self._hash = hashlib.sha256()
        self._take_up()

    def _take_up(self) -> None:
        """Digest what an earlier pull left, to go on from there."""
        while piece := os.pread(self._descriptor, CHUNK, self.reached):
            self._hash.update(piece)
            self.reached += len(piece)
        if self.reached > self._blob.size:
            self._begin_anew()
        self._found = self.reached

    def _begin_anew(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self.reached = self._found = 0
        self._hash = hashlib.sha256()

    def go_on(self, given_up: threading.Event) -> None:
        """Raises: RegistryFailed, BlobDamaged."""
        if self.reached < self._blob.size:
            self._receive(given_up)
        if self.reached < self._blob.size:
            raise RegistryFailed(self._source.host, f"it broke off within {self._blob.digest}", again=True)
        self._tell(status="Verifying Checksum", id=short(self._blob.digest))
        found = f"sha256:{self._hash.hexdigest()}"
        if found == self._blob.digest:
            return
        resumed = self._found > 0
        self._begin_anew()
        if resumed:  # the old part may be what is wrong
            raise RegistryFailed(
                self._source.host, f"{self._blob.digest} does not fit what was there of it", again=True
            )
        raise BlobDamaged(self._blob.digest, f"registry {self._source.host} sent {found}", "try another registry")

    def _receive(self, given_up: threading.Event) -> None:
        with self._source.blob(self._blob.digest, self.reached) as response:
            if self.reached and not self._continues(response.status, response.headers.get("content-range", "")):
                self._begin_anew()
                if response.status != 200:
                    raise RegistryFailed(self._source.host, "it cannot go on where a download ended", again=True)
            os.lseek(self._descriptor, self.reached, os.SEEK_SET)
            while piece := response.read(CHUNK):
                if given_up.is_set():
                    raise RegistryFailed(self._source.host, "the pull was given up")
                if self.reached + len(piece) > self._blob.size:
                    self._begin_anew()
                    raise BlobDamaged(
                        self._blob.digest, f"registry {self._source.host} sends more than the manifest says"
                    )
                write_all(self._descriptor, piece)
                self._hash.update(piece)
                self.reached += len(piece)
                self._tell(
                    status="Downloading", id=short(self._blob.digest), current=self.reached, total=self._blob.size
                )

    def _continues(self, status: int, content_range: str) -> bool:
        return status == 206 and content_range.startswith(f"bytes {self.reached}-")
