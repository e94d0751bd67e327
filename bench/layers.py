"""What the layers of an image cost at the start of a container."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from bench.archive import tar_of, write_image
from bench.daemon_rows import command
from bench.engine import Engine
from bench.measure import Clock

LAYERS = (1, 10, 40)


def row(layers: int) -> str:
    return f"run, image of {layers} layer{'s' * (layers > 1)}"


def measure_layers(directory: Path, engine: Engine, clock: Clock, rounds: int) -> None:
    """The bench's image, and layers that each add one file; turn by turn. The first one is not counted."""
    with clock.guarded(*map(row, LAYERS)):
        for layers in LAYERS:
            archive = directory / "layers.tar"
            added = [tar_of([(f"layer{number}", b"")]) for number in range(1, layers)]
            write_image(archive, f"bench/layers{layers}:1", [_tree(directory / "image"), *added])
            command(*engine.cli, "load", "-q", "-i", str(archive))
        for turn in range(rounds + 1):
            for layers in LAYERS:
                with (clock if turn else Clock()).time(row(layers)):
                    container = engine.api.run(f"layers{turn}", f"bench/layers{layers}:1")
                engine.api.remove(container)


def _tree(directory: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(directory, arcname=".")
    return stream.getvalue()
