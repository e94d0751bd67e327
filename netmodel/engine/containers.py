"""Containers as records: made, renamed, removed, found. Running them is the business of lifecycle.py."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from netmodel.engine.core import Core
from netmodel.engine.endpoints import Endpoints, interface_names
from netmodel.engine.files import ContainerFiles
from netmodel.engine.imagedefaults import with_image
from netmodel.engine.links import resolved
from netmodel.engine.names import check_name, made_up_name, new_id
from netmodel.engine.namespaces import lenders, lent_users, shared
from netmodel.engine.networks import BRIDGE
from netmodel.engine.routing import check_routes
from netmodel.engine.settings import NO_NETWORK
from netmodel.engine.undo import Undo, every_step
from netmodel.engine.validate import check_container
from netmodel.engine.volumes import EngineVolumes
from netmodel.engine.volumes_from import givers, with_mounts_of_others
from netmodel.errors import Conflict, Forbidden, Invalid, NotFound
from netmodel.model import Container, ContainerConfig, Endpoint, EndpointConfig, Network
from netmodel.userns import maps_of
from runtime.changes import Change, changes
from runtime.errors import RuntimeFault
from runtime.images import Image, host

_HOST_IMAGE_S = 1.0
_PLACES = ("/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


class Containers:
    """Everything a container holds while it does not run: its name, addresses, layer, files and volumes."""

    def __init__(self, core: Core, endpoints: Endpoints, volumes: EngineVolumes) -> None:
        self._core = core
        self._endpoints = endpoints
        self._volumes = volumes
        self._images: dict[str, Image] = {}
        self._host_image: tuple[float, Image] | None = None

    def find(self, ref: str) -> Container:
        return self._core.records.containers.find(ref)

    def files(self, container_id: str) -> ContainerFiles:
        return ContainerFiles(Path(self._core.root.containers, container_id))

    def image_of(self, container: Container) -> Image:
        """The image it was made from."""
        found = self._images.get(container.id)
        if found is None:
            found = self._core.images.resolve(container.image_id or container.config.image)
            self._images[container.id] = found
        return found

    def _resolve(self, ref: str) -> Image:
        """Find an image; the machine's own is looked at once a second, not once a container."""
        if ref != host.NAME:
            return self._core.images.resolve(ref)
        now = time.monotonic()
        if self._host_image is None or now - self._host_image[0] > _HOST_IMAGE_S:
            self._host_image = now, self._core.images.resolve(ref)
        return self._host_image[1]

    # --- create -------------------------------------------------------------------------------

    def create(self, config: ContainerConfig, name: str = "") -> Container:
        """Make a container that does not run yet, or nothing at all."""
        core = self._core
        check_container(config)
        core.cdi.edits(config.cdi_devices)  # what cannot be had is better known now than at the start
        name = check_name("container", name) if name else made_up_name(core.records.containers.names)
        if host.is_meant(config.image):
            config = replace(config, image=host.NAME)
        image = self._resolve(config.image)
        container_id = new_id()
        owner = self._owner(config)
        others = lenders(core, config)
        with ExitStack() as undo:
            shared_with = [*([owner] if owner else []), *others]
            held = (*shared_with, *givers(core, config))
            undo.enter_context(core.locks.containers([container_id, *(one.id for one in held)]))
            networks = self._networks(config)
            undo.enter_context(core.locks.sharing(network.id for network in networks))
            networks = [self._still_there(network) for network in networks]
            # The image is not removed meanwhile; nor was it since we found it.
            mounted = self._volumes.images_of(config)
            undo.enter_context(core.locks.sharing({image.id, *mounted}))
            image = self._resolve(config.image)
            with Undo() as failed:
                failed.callback(core.locks.forget, container_id)
                sandbox = _sandbox(config, container_id, owner)
                config = with_mounts_of_others(core, resolved(core, shared(core, config)))
                users = lent_users(core, config, shared_with)
                container = Container(
                    id=container_id,
                    name=name,
                    config=self._volumes.name_mounts(with_image(config, image), image),
                    created_at=datetime.now(UTC),
                    sandbox=sandbox,
                    idmap_base=self._id_range(config, users, failed),
                    users=users.id if users and users.idmap_base is not None and not owner else "",
                    creating=True,
                    image_id="" if config.image == host.NAME or config.image.startswith(("/", ".")) else image.id,
                )
                endpoints = self._reserve(container, networks, failed)
                # The intent, with all that is held, in one commit.
                core.records.put(container, *endpoints)
                failed.callback(core.records.delete, container, *endpoints)
                self._make(container, image, failed)
                container = replace(container, creating=False)
                core.records.put(container)
                failed.pop_all()
        self._images[container.id] = image
        self.event("create", container)
        return container

    def _owner(self, config: ContainerConfig) -> Container | None:
        """The container whose sandbox it shares."""
        if not config.network_mode.startswith("container:"):
            return None
        owner = self.find(config.network_mode.removeprefix("container:"))
        if owner.sandbox != owner.id:
            raise Conflict(
                f"container {owner.name} has no network of its own: it uses network mode {owner.config.network_mode}",
                "name the container that owns the network",
            )
        return owner

    def _networks(self, config: ContainerConfig) -> list[Network]:
        if config.network_mode != BRIDGE:
            return []
        if not config.networks and self._has_no_default():
            return []  # a loopback, and nothing else
        find = self._core.records.networks.find
        networks = [find(wish.network) for wish in _wishes(config)]
        for number, network in enumerate(networks):
            if network.config.config_only:
                raise Forbidden(
                    f"network {network.name} is settings alone: nobody can be on it",
                    f"create a network with --config-from {network.name}, and use that",
                )
            if network.config.driver in ("host", "null"):
                raise Invalid(
                    f"network {network.name} cannot be joined beside others", f"use network mode {network.name}"
                )
            if network.id in (other.id for other in networks[:number]):
                raise Invalid(f"network {network.name} is listed twice", "a container joins a network once")
        return networks

    def _has_no_default(self) -> bool:
        """As the settings want it, and not because something is amiss."""
        core = self._core
        return core.settings.default_bridge.bridge == NO_NETWORK and core.records.networks.named(BRIDGE) is None

    def _still_there(self, network: Network) -> Network:
        """The network as it is now that nobody can remove it."""
        found = self._core.records.networks.get(network.id)
        if found is None or found.state != "ready":
            raise NotFound(f"network {network.name} was removed meanwhile")
        return found

    def _id_range(self, config: ContainerConfig, users: Container | None, failed: ExitStack) -> int | None:
        if users is not None:
            return users.idmap_base
        if config.privileged or config.userns_mode == "host":
            return None
        maps = maps_of(config.userns_mode)
        if maps is not None:
            self._core.id_ranges.hold(maps.taken())
            failed.callback(self._core.id_ranges.let_go, maps.taken())
            return maps.root
        base = self._core.id_ranges.take()
        failed.callback(self._core.id_ranges.release, base)
        return base

    def _reserve(self, container: Container, networks: Sequence[Network], failed: ExitStack) -> list[Endpoint]:
        if not networks:
            return []
        wishes = _wishes(container.config)
        endpoints: list[Endpoint] = []
        # Addresses that were asked for go first: an automatic one must not take them.
        names = interface_names(wishes, networks)
        for wish, network, interface in zip(wishes, networks, names, strict=True):
            endpoint = self._endpoints.reserve(container, wish, network, interface)
            failed.callback(self._endpoints.give_back, endpoint)
            endpoints.append(endpoint)
        leased = any(network.config.leased for network in networks)
        known = not leased and all(self._endpoints.is_whole(endpoint) for endpoint in endpoints)
        check_routes(container.config.routes, endpoints, whole=known)
        return endpoints

    def _make(self, container: Container, image: Image, failed: ExitStack) -> None:
        directory = self.files(container.id).directory
        failed.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.mkdir()
        failed.callback(self._core.layers.delete, container.id)
        like = image.layers[0] if image.layers else None
        self._core.layers.create(container.id, like, container.config.storage_bytes)
        self._volumes.ensure(container, image, failed)

    # --- change -------------------------------------------------------------------------------

    def rename(self, ref: str, name: str) -> None:
        core = self._core
        name = check_name("container", name)
        container = self.find(ref)
        with core.locks.containers([container.id]):
            before = self.find(container.id)
            container = replace(before, name=name)
            core.records.put(container)
            if container.state.running:
                for endpoint in core.records.endpoints_of(container.id):
                    self._endpoints.resolvable(container, endpoint)
        self.event("rename", container, oldName=f"/{before.name}")

    def changes(self, container: Container) -> list[Change]:
        """What differs from its image, but for the places of its mounts."""
        upper, _ = self._core.layers.paths(container.id)
        image = self.image_of(container)
        places = {mount.target.rstrip("/") for mount in (*image.mounts, *container.config.mounts)}
        # The engine mounts over these; an image that lacks them has been given places for them.
        places.update(_PLACES)
        found = [one for one in changes(str(upper), image.layers) if one.path not in places]
        if any(one.path.startswith("/etc/") for one in found) or not _holds_places_alone(upper / "etc"):
            return found
        return [one for one in found if one.path != "/etc"]

    def sizes(self, container: Container) -> tuple[int, int]:
        """Bytes on the disk of what it has written, and of that with its image; the machine itself is not counted."""
        written = self._core.layers.size(container.id)
        image = 0
        if container.image_id:
            with suppress(RuntimeFault):  # the image is gone
                image = sum(size for _, size in self._core.images.details(container.image_id).layers)
        return written, written + image

    # --- remove -------------------------------------------------------------------------------

    def destroy(self, container: Container, volumes: bool) -> None:
        """Take away a container that does not run, every step of it. The caller holds its lock."""
        core = self._core
        endpoints = core.records.endpoints_of(container.id)
        with every_step(f"cannot remove all of container {container.name}") as step:
            for endpoint in endpoints:
                with step:
                    self._endpoints.unresolvable(endpoint)
                with step:
                    self._endpoints.give_back(endpoint)
            with step:
                core.layers.delete(container.id)
            with step:
                shutil.rmtree(self.files(container.id).directory, ignore_errors=True)
            core.id_ranges.give_back(container)
            if not step.failures:
                with step:
                    core.records.delete(*endpoints, container)
                core.locks.forget(container.id)
                self._images.pop(container.id, None)
            with step:
                self._volumes.release(container, volumes)
        self.event("destroy", container)

    def event(self, action: str, container: Container, **attributes: str) -> None:
        """Tell who listens; a container's events carry its labels, as Docker's do."""
        config = container.config
        self._core.events.publish(
            "container",
            action,
            container.id,
            {**config.labels, "image": config.image, "name": container.name, **attributes},
        )


def _wishes(config: ContainerConfig) -> tuple[EndpointConfig, ...]:
    return config.networks or (EndpointConfig(network=BRIDGE),)


def _sandbox(config: ContainerConfig, container_id: str, owner: Container | None) -> str:
    if owner is not None:
        return owner.id
    return "host" if config.network_mode == "host" else container_id


def _holds_places_alone(directory: Path) -> bool:
    """Whether nothing is in this part of a writable layer but what the engine mounts over."""
    try:
        names = [f"/etc/{entry.name}" for entry in directory.iterdir()]
    except OSError:
        return False
    return bool(names) and set(names) <= set(_PLACES)
