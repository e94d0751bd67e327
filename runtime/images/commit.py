"""Making an image of what a container has written: one more layer on its image's, and a configuration that says so.

A container of a directory, or of an archive used by its path, has no layers that anybody could be given:
all that it sees becomes the one layer of an image then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.images import config as configs
from runtime.images.blobs import Blobs
from runtime.images.catalog import ImageRecord
from runtime.images.pack import pack
from runtime.images.stream import Joined
from runtime.kernel.overlay import view
from runtime.kernel.path import opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is to become an image.

    Args:
        upper: The container's writable layer, with overlay's signs for what it took away.
        id_base: The host's id of the container's root, in case its file system cannot map ids and the
            owners in upper are the host's.
        changes: Members of the configuration's "config" that differ from the image's.
        created_by: The command that wrote it, for the history.
    """

    upper: Path
    id_base: int = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    author: str = ""
    comment: str = ""
    created_by: str = ""


def on_top(blobs: Blobs, base: ImageRecord, written: Written) -> tuple[bytes, list[str], list[str]]:
    """The configuration, all blobs of layers, and those of them that are new."""
    below = [layer.blob for layer in base.layers]
    fresh = []
    if os.listdir(written.upper):
        with opened(written.upper) as upper:
            pieces = pack(upper, as_layer=True, shift=_shift(upper, written.id_base))
            fresh = [blobs.receive(Joined(pieces))]
    config = configs.parse(blobs.read(base.id), base.id)
    return _config(config, fresh, written), [*below, *fresh], fresh


def flattened(blobs: Blobs, layers: Sequence[str], written: Written) -> tuple[bytes, list[str], list[str]]:
    """The same for a container that has these directories below."""
    root = view((str(written.upper), *layers))
    try:
        fresh = [blobs.receive(Joined(pack(root)))]
    finally:
        os.close(root)
    config = {"architecture": configs.architecture(), "os": "linux", "config": configs.empty()}
    return _config(config, fresh, written), fresh, fresh


def _config(base: Mapping[str, Any], fresh: Sequence[str], written: Written) -> bytes:
    """The base's, one step longer. Our layers are not compressed, so their digests are their diff ids."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    step: dict[str, Any] = {"created": now, "created_by": written.created_by}
    step |= {key: value for key, value in (("author", written.author), ("comment", written.comment)) if value}
    if not fresh:
        step["empty_layer"] = True
    kept = {key: value for key, value in base.items() if key not in ("container", "container_config", "id", "parent")}
    inner = {**(base.get("config") or {}), **written.changes}
    history = base.get("history")
    return configs.dumps(
        {
            **kept,
            "created": now,
            **({"author": written.author} if written.author else {}),
            "config": {key: value for key, value in inner.items() if value is not None},
            "rootfs": {"type": "layers", "diff_ids": [*configs.diff_ids(base), *fresh]},
            "history": [*(history if isinstance(history, list) else ()), step],
        }
    )


def _shift(upper: int, id_base: int) -> int:
    """What to take from its owners: a layer that could not be mapped was given to the container's root."""
    return id_base if id_base and os.fstat(upper).st_uid == id_base else 0
