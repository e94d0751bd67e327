"""An image of 200 MB in an archive: the same bytes on every machine, 4,000 files of mixed sizes in four layers."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

LAYERS = 4
# How many files of which size a layer has: 50 MB in a thousand files.
_FILES = ((700, 3_000), (270, 88_000), (30, 800_000))


def write_files(target: Path, name: str, percent: int) -> None:
    """The image, or one like it of a part of the size."""
    write_image(target, name, [_layer(number, percent) for number in range(LAYERS)])


def write_image(target: Path, name: str, layers: Sequence[bytes]) -> None:
    """An image of these layers as `docker save` writes it, but compressed.

    Args:
        layers: Tar archives.
    """
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}" for layer in layers]},
    }
    with tarfile.open(target, "w") as tar:
        told = json.dumps(config).encode()
        config_name = f"{sha256(told).hexdigest()}.json"
        _add(tar, config_name, told)
        paths = [f"{number}/layer.tar" for number in range(len(layers))]
        for path, layer in zip(paths, layers, strict=True):
            _add(tar, path, gzip.compress(layer, 6, mtime=0))
        manifest = [{"Config": config_name, "RepoTags": [name], "Layers": paths}]
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files:
            _add(tar, name, content)
    return stream.getvalue()


def _layer(number: int, percent: int) -> bytes:
    random = Random(number)
    return tar_of(
        (f"layer{number}/{index % 40}/{length}-{index}", _content(random, length))
        for count, length in _FILES
        for index in range(count * percent // 100)
    )


def _content(random: Random, length: int) -> bytes:
    """Halves as well as programs do: some of it repeats, some of it does not."""
    noise = random.randbytes(length // 2)
    return noise + (noise[:64] * (length // 128 + 1))[: length - len(noise)]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
