"""Images as the engine has them: fetched and given away, named and removed, and never taken from a container."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.filters import Filters, apply, has_label, moment, truth
from netmodel.errors import Conflict, Forbidden, Invalid, translated
from netmodel.model import Container
from runtime.images import Details, Image, Images, InvalidImageName, Reference, Removed, Tell, host
from runtime.images.config import architecture
from runtime.images.distribution import Pull, Push
from runtime.images.errors import ImageNotFound
from runtime.images.manifest import Platform
from runtime.images.pack import pack
from runtime.images.registry import Credentials, Registries, Transport, login
from runtime.images.stream import Source
from runtime.kernel.overlay import view


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """Args:
    size_bytes: Unpacked, and what of it other images have, too.
    containers: How many were made of it.
    """

    details: Details
    shared_bytes: int
    containers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """Args:
    layers_bytes: All layers unpacked, each counted once.
    blobs_bytes: Archives of layers as they came, kept to be given away unchanged.
    """

    images: tuple[ImageUsage, ...]
    layers_bytes: int
    blobs_bytes: int
    reclaimable_bytes: int


class EngineImages:
    """Every method raises NetmodelError alone; what it yields may raise what runtime.images raises."""

    def __init__(self, core: Core, containers: Containers) -> None:
        self._core = core
        self._containers = containers

    @property
    def _images(self) -> Images:
        return self._core.images

    # --- from elsewhere ---------------------------------------------------------------------------

    @translated
    def pull(self, ref: str, platform: str, credentials: Credentials | None, tell: Tell) -> Image:
        reference = Reference.parse(ref)
        if reference.familiar_repository == host.NAME:
            raise Invalid("image host is the machine itself, and is always here", "use it: netmodel run host")
        transport = self._transport()
        try:
            image = Pull(self._images, transport, credentials, tell).run(
                reference, Platform.parse(platform) if platform else None
            )
        finally:
            transport.close()
        self._event("pull", reference.familiar, name=reference.familiar_repository)
        return image

    @translated
    def push(self, ref: str, credentials: Credentials | None, tell: Tell) -> str:
        """Returns the digest under which the registry has it."""
        reference = Reference.parse(ref)
        transport = self._transport()
        try:
            digest = Push(self._images, transport, credentials, tell).run(reference)
        finally:
            transport.close()
        self._event("push", reference.familiar, name=reference.familiar_repository)
        return digest

    @translated
    def login(self, registry: str, credentials: Credentials) -> None:
        """Ask a registry whether it takes them.

        Raises:
            Forbidden, Unavailable.
        """
        transport = self._transport()
        try:
            login(transport, registry, credentials)
        finally:
            transport.close()

    @translated
    def load(self, archive: Source, tell: Tell) -> tuple[Image, ...]:
        images = self._images.load(archive, "the archive", tell)
        for image in images:
            self._event("load", image.id, name=image.names[0] if image.names else image.id)
        return images

    @translated
    def import_(self, archive: Source, source: str, name: str, changes: Mapping[str, Any]) -> Image:
        image = self._images.import_stream(archive, source, name, changes)
        self._event("import", image.id, name=name or image.id)
        return image

    # --- to elsewhere -----------------------------------------------------------------------------

    @translated
    def save(self, refs: Sequence[str]) -> Iterator[bytes]:
        pieces = self._images.save(refs)
        for ref in refs:
            self._event("save", self._images.find(ref).id, name=ref)
        return pieces

    @translated
    def export(self, ref: str) -> Iterator[bytes]:
        """A container's file system as an archive: its layers and what it has written, without what is mounted."""
        container = self._containers.find(ref)
        if container.config.image == host.NAME:
            raise Forbidden(
                f"container {container.name} is of the machine itself, all of whose files that would be",
                "netmodel diff shows what it has changed, and netmodel cp takes what you name",
            )
        upper, _ = self._core.layers.paths(container.id)
        layers = (str(upper), *self._containers.image_of(container).layers)
        root = view(layers)
        self._containers.event("export", container)
        return _and_close(pack(root), root)

    # --- here -------------------------------------------------------------------------------------

    @translated
    def tag(self, ref: str, name: str) -> None:
        image = self._images.tag(ref, name)
        self._event("tag", image.id, name=Reference.parse(name).familiar)

    @translated
    def details(self, ref: str) -> Details:
        return self._images.details(ref)

    @translated
    def check_platform(self, ref: str, platform: str) -> None:
        """See to it that an image is for a platform, as linux/arm64.

        Raises:
            NetmodelError: It is not here, or for another one; whoever is told so may pull what fits.
        """
        wanted, config = Platform.parse(platform), self.details(ref).config
        own = Platform(config.get("architecture") or architecture(), config.get("variant") or "")
        if not wanted.fits({"os": own.os, "architecture": own.architecture, "variant": own.variant}):
            hint = f"the one here is for {own}: fetch the other with netmodel pull --platform {wanted} {ref}"
            raise ImageNotFound(f"{ref} for {wanted}", hint)

    def listed(self, filters: Filters | None = None) -> tuple[Details, ...]:
        """Newest first, the machine itself last. Filters as Docker's: before, dangling, id, label, reference, since."""
        found = [self._images.details(host.NAME), *(self._images.details(one.id) for one in self._images.list()[1:])]

        def created(ref: str) -> Any:
            return self._images.details(ref).image.created_at

        kept = apply(
            found,
            filters,
            {
                "before": lambda one, wanted: one.image.created_at < created(wanted),
                "since": lambda one, wanted: one.image.created_at > created(wanted),
                "dangling": lambda one, wanted: truth(wanted) == (not one.image.names),
                "id": lambda one, wanted: one.image.id.removeprefix("sha256:").startswith(
                    wanted.removeprefix("sha256:")
                ),
                "label": lambda one, wanted: has_label(dict(one.image.config.labels), wanted),
                "label!": lambda one, wanted: not has_label(dict(one.image.config.labels), wanted),
                "reference": lambda one, wanted: any(_matches(name, wanted) for name in one.image.names),
                "until": lambda one, wanted: one.image.created_at < moment(wanted),
            },
        )
        patterns = (filters or {}).get("reference", ())
        if patterns:  # as Docker, who asks for names is told those alone
            kept = [_with_names(one, lambda name: any(_matches(name, wanted) for wanted in patterns)) for one in kept]
        return tuple(
            sorted(kept, key=lambda one: (one.image.names != (host.NAME,), one.image.created_at), reverse=True)
        )

    @translated
    def remove(self, ref: str, force: bool = False) -> Removed:
        """Take away a name; with the last one the image, unless a container was made of it.

        Args:
            force: Take the names away even so, all of them; the image goes with its last container, by prune.

        Raises:
            Conflict: A container needs it; an id has several names.
        """
        if host.is_meant(ref):
            raise Conflict("image host is the machine itself, which stays")
        record = self._images.find(ref)
        with self._core.locks.alone(record.id):
            image = self._images.image(self._images.find(ref))
            named = _is_name(ref) and Reference.parse(ref).name in (*image.names, *image.digests)
            if not named and len(image.names) > 1 and not force:
                raise Conflict(
                    f"image {ref} has several names: {', '.join(image.names)}", "remove by name, or all with --force"
                )
            users = [] if named and len(image.names) > 1 else self._users(image.id)
            if any(user.state.running for user in users) or (users and not force):
                names = ", ".join(sorted(user.name for user in users))
                hint = "remove them first" if not force else "stop them first"
                raise Conflict(f"image {ref} is used by {names}", hint)
            removed = self._images.remove(ref, keep=bool(users))
        for name in removed.untagged:
            self._event("untag", record.id, name=name)
        if removed.deleted:
            self._core.locks.forget(record.id)
            self._event("delete", record.id, name=record.id)
        return removed

    @translated
    def prune(self, filters: Filters | None = None) -> tuple[tuple[Removed, ...], int]:
        """Remove images without a tag that no container uses; with dangling=false those with one, too.

        Returns:
            What went, and the bytes that frees.
        """
        wanted = dict(filters or {})
        everything = not all(truth(value) for value in wanted.pop("dangling", ()))
        before = self.usage()
        in_use = self._in_use()
        removed = []
        for details in self.listed(wanted):
            image = details.image
            if image.id in in_use or image.names == (host.NAME,) or (image.names and not everything):
                continue
            try:
                removed.append(self.remove(image.id, force=True))
            except Conflict:
                continue  # a container came meanwhile
        self._images.prune(in_use={image.image.id for image in self.listed()})
        after = self.usage()
        freed = before.layers_bytes + before.blobs_bytes - after.layers_bytes - after.blobs_bytes
        return tuple(removed), max(freed, 0)

    @translated
    def usage(self) -> DiskUsage:
        store, in_use = self._images, self._in_use()
        shown = [details for details in self.listed() if details.image.names != (host.NAME,)]
        count: dict[str, int] = {}
        for details in shown:
            for layer, _ in details.layers:
                count[layer.chain] = count.get(layer.chain, 0) + 1
        images = tuple(
            ImageUsage(
                details=details,
                shared_bytes=sum(size for layer, size in details.layers if count[layer.chain] > 1),
                containers=in_use.get(details.image.id, 0),
            )
            for details in shown
        )
        needed = {layer.chain for one in images if one.containers for layer, _ in one.details.layers}
        known = {layer.chain: size for one in images for layer, size in one.details.layers}
        return DiskUsage(
            images=images,
            layers_bytes=sum(store.layers.size(chain) for chain in store.layers.list()),
            blobs_bytes=sum(store.blobs.size(blob) for blob in store.blobs.list()) + store.blobs.partial_bytes(),
            reclaimable_bytes=sum(size for chain, size in known.items() if chain not in needed),
        )

    # --- containers -------------------------------------------------------------------------------

    def _users(self, image_id: str) -> list[Container]:
        return [one for one in self._core.records.containers if image_id in self._image_ids(one)]

    def _in_use(self) -> dict[str, int]:
        """By image, how many containers were made of it or mount it."""
        found: dict[str, int] = {}
        for container in self._core.records.containers:
            for image_id in self._image_ids(container):
                found[image_id] = found.get(image_id, 0) + 1
        return found

    def _image_ids(self, container: Container) -> set[str]:
        mounted = {mount.image_id for mount in container.config.mounts if mount.image_id}
        return {self._image_id(container), *mounted}

    def _image_id(self, container: Container) -> str:
        if container.image_id or container.config.image == host.NAME:
            return container.image_id
        try:  # an archive or a directory by its path
            return self._containers.image_of(container).id
        except Exception:  # which may be gone
            return ""

    def _transport(self) -> Transport:
        return Transport(Registries.read(self._core.root.path / "registries.json"))

    def _event(self, action: str, image: str, **attributes: str) -> None:
        self._core.events.publish("image", action, image, attributes)


def _is_name(ref: str) -> bool:
    try:
        Reference.parse(ref)
    except InvalidImageName:
        return False
    return True


def _matches(name: str, pattern: str) -> bool:
    """Docker's: a name or a pattern of one, with or without the tag."""
    wanted = pattern.removeprefix("docker.io/").removeprefix("library/")
    repository = name.rpartition(":")[0]
    return fnmatchcase(name, wanted) or fnmatchcase(repository, wanted)


def _and_close(pieces: Iterator[bytes], descriptor: int) -> Iterator[bytes]:
    try:
        yield from pieces
    finally:
        os.close(descriptor)


def _with_names(details: Details, wanted: Callable[[str], bool]) -> Details:
    return replace(details, image=replace(details.image, names=tuple(filter(wanted, details.image.names))))
