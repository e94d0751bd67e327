"""Containers and volumes of a given size, with the engine's root on a file system that counts by projects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netmodel.daemon.containers import see
from netmodel.daemon.wire.container import inspect
from netmodel.engine import Engine
from netmodel.model import MountConfig, VolumeConfig
from tests.netmodel.engine.conftest import clean_up, output_of, runner
from tests.support.box import Box
from tests.support.disk import with_quotas

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]


@pytest.fixture
def engine(host: Box, tmp_path: Path) -> Iterator[Engine]:
    with with_quotas(tmp_path, "xfs") as place:
        opened = Engine(place / "root")
        opened.open()
        yield opened
        clean_up(opened)


def test_what_a_container_writes_has_a_size(engine: Engine) -> None:
    """In its root and in a volume, before and after a restart of the engine."""
    engine.create_volume(VolumeConfig(name="small", options={"size": "2m"}))
    mounts = (MountConfig(type="volume", source="small", target="/mnt"),)
    runner(engine)("c", mounts=mounts, storage_bytes=4 << 20)
    assert inspect(see(engine, "c"))["HostConfig"]["StorageOpt"] == {"size": str(4 << 20)}

    for _ in range(2):
        assert output_of(engine, "c", "df", "-k", "--output=size", "/", "/mnt").split()[1:] == ["4096", "2048"]
        for place in ("/mnt", "/root"):
            script = f"head -c 9M /dev/zero > {place}/file; rm {place}/file"
            assert "No space left" in output_of(engine, "c", "sh", "-c", f"({script}) 2>&1")
        engine.close()
        engine.open()

    engine.remove("c", force=True)
    engine.remove_volume("small")
    assert [one.name for one in engine.volumes()] == []
