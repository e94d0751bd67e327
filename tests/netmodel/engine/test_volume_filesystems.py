"""File systems of the user's as volumes: mounted while containers run that have them, whatever the engine does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import NetmodelError
from netmodel.model import ContainerConfig, MountConfig, VolumeConfig
from tests.netmodel.engine.conftest import Run, output_of
from tests.support.disk import disk, is_free
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel
MOUNT = (MountConfig(type="volume", source="data", target="/x"),)


@pytest.fixture
def device(tmp_path: Path, engine: Engine) -> Iterator[str]:
    with disk(tmp_path, "ext4") as found:
        engine.create_volume(VolumeConfig(name="data", options={"type": "ext4", "device": found}))
        yield found
        for container in engine.containers(all=True):
            engine.remove(container.id, force=True)


def test_two_share_it_and_it_goes_with_the_last(engine: Engine, run: Run, device: str) -> None:
    run("a", mounts=MOUNT)
    run("b", mounts=MOUNT)
    output_of(engine, "a", "touch", "/x/file")
    assert "file" in output_of(engine, "b", "ls", "/x")
    assert Path(engine.volume_path("data"), "file").stat().st_uid == 0

    engine.stop("a", timeout_s=0)
    assert not is_free(device)
    engine.stop("b", timeout_s=0)
    eventually(lambda: is_free(device))
    assert list(engine.volume_path("data").iterdir()) == []

    engine.start("a")
    assert "file" in output_of(engine, "a", "ls", "/x")


def test_it_outlives_engines(engine: Engine, run: Run, device: str) -> None:
    run("a", mounts=MOUNT)
    engine.close()
    engine.open()
    assert engine.volume_path("data").is_mount()

    output_of(engine, "a", "touch", "/x/file")
    run("b", mounts=MOUNT)
    assert "file" in output_of(engine, "b", "ls", "/x")
    engine.remove("a", force=True)
    assert engine.volume_path("data").is_mount()
    engine.remove("b", force=True)
    eventually(lambda: is_free(device))


def test_one_that_restarts_has_it_again(engine: Engine, run: Run, device: str) -> None:
    run("a", mounts=MOUNT, command=("sh", "-c", "date > /x/$(ls /x | wc -l); sleep infinity"))
    dated = engine.volume_path("data")
    eventually(lambda: len(list(dated.iterdir())) == 2)  # with lost+found

    engine.restart("a", timeout_s=0)

    eventually(lambda: len(list(dated.iterdir())) == 3)


def test_files_of_a_stopped_container_are_copied(engine: Engine, run: Run, device: str) -> None:
    run("a", mounts=MOUNT)
    output_of(engine, "a", "touch", "/x/file")
    engine.stop("a", timeout_s=0)

    assert engine.stat_path("a", "/x/file").name == "file"
    assert not engine.volume_path("data").is_mount()


def test_a_start_that_fails_leaves_it_unmounted(engine: Engine, device: str) -> None:
    made = engine.create_container(ContainerConfig(image="host", command=("/missing",), mounts=MOUNT))
    with pytest.raises(NetmodelError):
        engine.start(made.id)
    eventually(lambda: is_free(device))


def test_what_cannot_be_mounted_keeps_a_container_from_being_made(engine: Engine) -> None:
    """As in Docker, for the image's content would have to be put there. Nothing is left."""
    engine.create_volume(VolumeConfig(name="gone", options={"type": "ext4", "device": "/dev/no"}))
    with pytest.raises(NetmodelError, match="volume gone cannot be used: cannot mount ext4 from /dev/no: no such file"):
        engine.create_container(
            ContainerConfig(image="host", mounts=(MountConfig(type="volume", source="gone", target="/x"),))
        )
    assert engine.containers(all=True) == []
    with pytest.raises(NetmodelError, match="type=nofs: this kernel has no such file system"):
        engine.create_volume(VolumeConfig(name="none", options={"type": "nofs", "device": "x"}))
    assert [one.name for one in engine.volumes()] == ["gone"]
