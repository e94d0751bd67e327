"""An image as a value: layers to stack, mounts that belong to it, and what a container of it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runtime.spec import BindMount, TmpfsMount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How an image says its containers are found healthy; 0 leaves a value to whoever runs it.

    Args:
        test: ("CMD", program, ...), ("CMD-SHELL", command) or ("NONE",).
    """

    test: tuple[str, ...]
    interval_s: float = 0
    timeout_s: float = 0
    start_period_s: float = 0
    start_interval_s: float = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What a container does unless it is told otherwise.

    Args:
        exposed_ports: Like "80/tcp".
        volumes: Directories of the container that get an anonymous volume.
        stop_signal: "" is SIGTERM.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ("/bin/sh",)
    env: tuple[tuple[str, str], ...] = (("PATH", DEFAULT_PATH),)
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    healthcheck: Healthcheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Args:
    id: "sha256:" and 64 hexadecimal digits, the digest of its configuration; of a directory, that of its path.
    names: Under which it is known here; a directory or an archive may have none.
    layers: Directories of the host, the topmost first; never written to.
    mounts: Every container of it gets these, in this order, before its own.
    size_bytes: Of the files in its layers, shared with other images or not; 0 for what is not ours.
    digests: Under which registries have it: "redis@sha256:...".
    """

    id: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    created_at: datetime
    config: ImageConfig = field(default_factory=ImageConfig)
    mounts: tuple[BindMount | TmpfsMount, ...] = ()
    size_bytes: int = 0
    digests: tuple[str, ...] = ()
