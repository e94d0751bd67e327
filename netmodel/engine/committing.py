"""Making an image of a container: what it has written, and a configuration that says how it ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.lifecycle import Lifecycle
from netmodel.model import Container, ContainerConfig, HealthConfig
from runtime.images import Image, Written

# Of the store's meta: containers that are frozen only while they are committed, by id.
FROZEN = "frozen."
_NS = 1_000_000_000


class Committing:
    def __init__(self, core: Core, containers: Containers, lifecycle: Lifecycle) -> None:
        self._core = core
        self._containers = containers
        self._lifecycle = lifecycle

    def commit(
        self, ref: str, name: str, *, author: str, comment: str, changes: Mapping[str, Any], pause: bool
    ) -> Image:
        """Its layer on its image's, under a name or without.

        Args:
            changes: Members of an image's configuration, which go before what the container says.
            pause: Freeze it meanwhile, if it runs.
        """
        container = self._containers.find(ref)
        with self._core.locks.containers([container.id]):
            container = self._containers.find(container.id)
            image = self._containers.image_of(container)
            upper, _ = self._core.layers.paths(container.id)
            command = (*(container.config.entrypoint or ()), *(container.config.command or image.config.cmd))
            written = Written(
                upper=upper,
                id_base=container.idmap_base or 0,
                changes=_with(members(container.config, image), changes),
                author=author,
                comment=comment,
                created_by=" ".join(command),
            )
            base = container.image_id or container.config.image
            self._core.images.check_commit(base, name)  # before it is frozen in vain
            with self._still(container, pause):
                made = self._core.images.commit(base, written, name)
        self._containers.event("commit", container, comment=comment, imageID=made.id, imageRef=name)
        return made

    @contextmanager
    def _still(self, container: Container, pause: bool) -> Iterator[None]:
        if not pause or container.state.status != "running":
            yield
            return
        records, note = self._core.records, FROZEN + container.id
        records.write(meta={note: ""})  # so that the next engine lets it go on, should this one not come to it
        try:
            self._lifecycle.pause(container.id)
            try:
                yield
            finally:
                self._lifecycle.unpause(container.id)
        finally:
            records.write(meta={note: None})


def members(config: ContainerConfig, image: Image) -> dict[str, Any]:
    """What a container says itself, as an image's configuration has it; what its image says goes below."""
    found: dict[str, Any] = {
        "Env": [f"{name}={value}" for name, value in {**dict(image.config.env), **config.environment}.items()],
        "Labels": dict(config.labels),
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in config.exposed_ports},
        "Volumes": {
            **{path: {} for path in image.config.volumes},
            **{mount.target: {} for mount in config.mounts if mount.type == "volume"},
        },
        "WorkingDir": config.working_dir or image.config.working_dir,
        "User": config.user or image.config.user,
        "StopSignal": config.stop_signal,
    }
    if config.entrypoint is not None:
        # As in Docker, a new entrypoint does away with the image's command.
        found["Entrypoint"], found["Cmd"] = list(config.entrypoint), None
    if config.command is not None:
        found["Cmd"] = list(config.command)
    if config.health.test:
        found["Healthcheck"] = _healthcheck(config.health)
    return {name: value for name, value in found.items() if value or name in ("Entrypoint", "Cmd")}


def _healthcheck(health: HealthConfig) -> dict[str, Any]:
    times = {
        "Interval": health.interval_s,
        "Timeout": health.timeout_s,
        "StartPeriod": health.start_period_s,
        "StartInterval": health.start_interval_s,
    }
    return {
        "Test": list(health.test),
        **{name: round(seconds * _NS) for name, seconds in times.items() if seconds},
        **({"Retries": health.retries} if health.retries else {}),
    }


def _with(found: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tables and the environment grow; all else takes the place of what was there."""
    whole = dict(found)
    if "Entrypoint" in changes and "Cmd" not in changes:
        whole["Cmd"] = None
    for name, value in changes.items():
        if name == "Env":
            whole["Env"] = _environment([*whole.get("Env", ()), *value])
        elif isinstance(value, Mapping):
            whole[name] = {**whole.get(name, {}), **value}
        else:
            whole[name] = value
    return whole


def _environment(entries: Sequence[str]) -> list[str]:
    return [f"{name}={value}" for name, value in dict(entry.split("=", 1) for entry in entries).items()]
