"""Pulling from and pushing to a real registry, as tests do it."""

from __future__ import annotations

import random

from runtime.images import Image, Images, Reference
from runtime.images.distribution import Pull, Push
from runtime.images.manifest import Platform
from runtime.images.registry import Credentials, Registries, Transport
from tests.runtime.test_images_load import STACK
from tests.support.registry import (
    PASSWORD,
    USER,
    Server,
)
from tests.support.tars import layer, member, oci_archive

ANNA = Credentials(username=USER, password=PASSWORD)
BIG = layer(member("big", content=random.Random(1).randbytes(3 << 20)))


class Told:
    """What a pull or push said, and a way to stop it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, int, int]] = []

    def __call__(self, *, status: str, id: str = "", current: int = 0, total: int = 0) -> None:  # noqa: A002
        self.lines.append((status, id, current, total))

    def statuses(self) -> set[str]:
        return {line[0] for line in self.lines}


def pull(
    store: Images,
    name: str,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
    tell: Told | None = None,
    platform: Platform | None = None,
) -> Image:
    transport = Transport(registries or Registries(), timeout_s=5)
    try:
        return Pull(store, transport, credentials, tell).run(Reference.parse(name), platform)
    finally:
        transport.close()


def push(store: Images, name: str, credentials: Credentials | None = None, tell: Told | None = None) -> str:
    transport = Transport(Registries(), timeout_s=5)
    try:
        return Push(store, transport, credentials, tell).run(Reference.parse(name))
    finally:
        transport.close()


def pushed(store: Images, server: Server, archive: object = None, path: str = "lab/app:1") -> Image:
    """An image that the registry has."""
    (image,) = store.load(archive or oci_archive(STACK))  # type: ignore[arg-type]
    name = f"{server.address}/{path}"
    store.tag(image.id, name)
    push(store, name)
    return store.resolve(image.id)
