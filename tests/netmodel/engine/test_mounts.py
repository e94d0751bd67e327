"""Mounts as the engine makes them: parts of volumes, images, what binds bring with them, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.engine.mounts import check_mounts
from netmodel.errors import Conflict, Invalid, NetmodelError
from netmodel.model import ContainerConfig, MountConfig, VolumeConfig
from runtime.images.progress import Silent
from runtime.volumes import Volumes
from tests.netmodel.engine.conftest import Run, output_of
from tests.netmodel.engine.shared import engine, host
from tests.support.tars import directory, docker_archive, layer, link, member

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


def load(engine: Engine) -> str:
    """An image of two layers without any program; returns its id."""
    below = layer(directory("data"), member("data/file", content=b"below"), member("data/gone"))
    above = layer(member("data/file", content=b"above", uid=33, gid=44), member("data/.wh.gone"), link("way", "/data"))
    (image,) = engine.images.load(docker_archive([below, above], ["lab/data:1"]), Silent)
    return image.id


# --- parts of volumes ---------------------------------------------------------------------------


def test_a_part_of_a_volume_is_all_that_a_container_sees(engine: Engine, run: Run) -> None:
    engine.create_volume(VolumeConfig(name="data"))
    volume = engine.volume_path("data")
    (volume / "db/one").mkdir(parents=True)
    (volume / "secret").touch()
    (volume / "way").symlink_to("/db")

    run("a", mounts=(MountConfig(type="volume", source="data", target="/x", subpath="db"),))
    run("b", mounts=(MountConfig(type="volume", source="data", target="/x", subpath="way/one"),))
    output_of(engine, "b", "touch", "/x/made")

    assert output_of(engine, "a", "ls", "/x", "/x/one") == "/x:\none\n\n/x/one:\nmade\n"
    assert (volume / "db/one/made").stat().st_uid == 0


def test_a_part_that_is_missing_or_leads_out_keeps_it_from_starting(engine: Engine, run: Run) -> None:
    engine.create_volume(VolumeConfig(name="data"))
    (engine.volume_path("data") / "out").symlink_to("../../../../../../../../../../../etc")

    for part in ("missing", "out"):
        with pytest.raises(NetmodelError, match=f"there is no {part} in ") as refusal:
            run(part, mounts=(MountConfig(type="volume", source="data", target="/x", subpath=part),))
        assert refusal.value.kind == "not_found"


def test_what_is_fresh_stays_empty_if_asked(engine: Engine, run: Run) -> None:
    """Otherwise it gets what the image has there; with a part of it named, nothing is put beside that."""
    for name, nocopy in (("kept", True), ("filled", False)):
        run(name, mounts=(MountConfig(type="volume", source=name, target="/etc/apt", nocopy=nocopy),))

    assert output_of(engine, "kept", "ls", "/etc/apt") == ""
    assert "sources.list" in output_of(engine, "filled", "ls", "/etc/apt")


# --- images -------------------------------------------------------------------------------------


def test_an_image_is_mounted_and_stays_while_it_is(engine: Engine, run: Run) -> None:
    image = load(engine)
    mounts = (
        MountConfig(type="image", source="lab/data:1", target="/img"),
        MountConfig(type="image", source="lab/data:1", target="/part", subpath="way"),
    )
    run("c", mounts=mounts)

    assert output_of(engine, "c", "stat", "-c", "%n %u %g", "/img/data/file") == "/img/data/file 33 44\n"
    assert output_of(engine, "c", "sh", "-c", "cat /img/data/file; ls /part") == "abovefile\n"
    assert "Read-only" in output_of(engine, "c", "sh", "-c", "touch /part/x 2>&1; true")
    with pytest.raises(Conflict, match="used by c"):
        engine.images.remove("lab/data:1")
    engine.images.prune({"dangling": ["false"]})
    assert engine.images.details("lab/data:1").image.id == image

    engine.remove("c", force=True)
    assert engine.images.remove("lab/data:1").deleted


def test_a_container_keeps_the_image_that_was_meant(engine: Engine, run: Run) -> None:
    """Though another gets its name meanwhile."""
    load(engine)
    run("c", mounts=(MountConfig(type="image", source="lab/data:1", target="/img"),))
    other = layer(directory("data"), member("data/file", content=b"other"))
    engine.images.load(docker_archive([other], ["lab/data:1"]), Silent)

    engine.restart("c", timeout_s=0)

    assert output_of(engine, "c", "cat", "/img/data/file") == "above"


def test_a_directory_is_an_image_to_mount_too(engine: Engine, run: Run, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    run("c", mounts=(MountConfig(type="image", source=str(tmp_path / "tree"), target="/img"),))

    assert output_of(engine, "c", "ls", "/img") == "file\n"


def test_files_of_a_stopped_container_s_mounts_are_read(engine: Engine, tmp_path: Path) -> None:
    load(engine)
    engine.create_volume(VolumeConfig(name="data"))
    (engine.volume_path("data") / "db").mkdir()
    (engine.volume_path("data") / "db/row").write_text("x")
    mounts = (
        MountConfig(type="image", source="lab/data:1", target="/img", subpath="data"),
        MountConfig(type="volume", source="data", target="/x", subpath="db"),
    )
    engine.create_container(ContainerConfig(image="host", command=("true",), mounts=mounts), "c")

    assert engine.stat_path("c", "/img/file").size == 5
    assert engine.stat_path("c", "/x/row").size == 1


# --- binds --------------------------------------------------------------------------------------


def test_what_is_mounted_below_a_bind(engine: Engine, run: Run, tmp_path: Path) -> None:
    below = tmp_path / "source/below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", below], check=True)
    (below / "file").touch()
    bind = {"type": "bind", "source": str(tmp_path / "source"), "read_only": True}
    try:
        run(
            "c",
            mounts=(
                MountConfig(target="/enabled", **bind),
                MountConfig(target="/readonly", recursive="readonly", **bind),
                MountConfig(target="/writable", recursive="writable", **bind),
                MountConfig(target="/disabled", recursive="disabled", **bind),
            ),
        )
        wrote = "for d in enabled readonly writable disabled; do touch /$d/below/$d 2>/dev/null; done; true"
        output_of(engine, "c", "sh", "-c", wrote)
        assert sorted(one.name for one in below.iterdir()) == ["file", "writable"]
        assert output_of(engine, "c", "ls", "/disabled/below") == ""
    finally:
        engine.remove("c", force=True)
        subprocess.run(["umount", below], check=True)


def test_options_of_a_tmpfs(engine: Engine, run: Run) -> None:
    options = ("exec", "uid=5", "nr_inodes=9")
    run("c", mounts=(MountConfig(type="tmpfs", target="/t", tmpfs_options=options, tmpfs_size_bytes=1 << 20),))

    script = "cp /bin/true /t/x && /t/x; stat -c %u /t; df --output=itotal /t | tail -1; grep ' /t ' /proc/mounts"
    lines = output_of(engine, "c", "sh", "-c", script).split("\n")
    assert [line.strip() for line in lines[:2]] == ["5", "9"]
    assert "nosuid,nodev" in lines[2]
    assert "noexec" not in lines[2]


# --- drivers ------------------------------------------------------------------------------------


def test_a_mount_says_how_its_volume_is_made(engine: Engine, run: Run) -> None:
    made = VolumeConfig(options={"type": "tmpfs", "o": "size=64k"}, labels={"of": "test"})
    run("c", mounts=(MountConfig(type="volume", source="fast", target="/x", volume=made),))

    assert engine.volume("fast").config == VolumeConfig(name="fast", options=made.options, labels=made.labels)
    assert output_of(engine, "c", "df", "--output=size", "/x").split()[-1] == "64"
    engine.remove("c", force=True)
    engine.remove_volume("fast")


def test_each_volume_goes_to_its_own_driver(
    engine: Engine, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Volumes(tmp_path / "shelf")
    monkeypatch.setitem(engine._core.volumes, "shelf", shelf)  # type: ignore[arg-type]
    run("c", mounts=(MountConfig(type="volume", source="v", target="/x", volume=VolumeConfig(driver="shelf")),))
    output_of(engine, "c", "touch", "/x/file")

    assert [one.name for one in shelf.path("v").iterdir()] == ["file"]
    assert engine.volumes({"driver": ["shelf"]}) == [engine.volume("v")]
    with pytest.raises(Conflict, match="exists with driver shelf"):
        engine.create_volume(VolumeConfig(name="v"))
    engine.remove("c", force=True)
    engine.remove_volume("v")
    assert shelf.list() == ()


def test_an_unknown_driver_is_refused_by_name(engine: Engine) -> None:
    mount = MountConfig(type="volume", source="v", target="/x", volume=VolumeConfig(driver="nfs"))
    for attempt in (
        lambda: engine.create_volume(VolumeConfig(name="v", driver="nfs")),
        lambda: engine.create_container(ContainerConfig(image="host", command=("true",), mounts=(mount,))),
    ):
        with pytest.raises(Invalid, match="no such volume driver: nfs") as refusal:
            attempt()
        assert refusal.value.hint == "there is: local"
    assert engine.volumes() == []
    assert engine.containers(all=True) == []


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"type": "volume", "subpath": "/etc"}, "subpath '/etc' of /x is not below its source"),
        ({"type": "image", "source": "a", "subpath": "a/../../b"}, "subpath 'a/../../b'"),
        ({"type": "bind", "source": "/a", "subpath": "b"}, "the bind at /x cannot have a subpath"),
        ({"type": "image"}, "the image to mount at /x is not named"),
        ({"type": "image", "source": "host"}, "host is the machine itself"),
        ({"type": "volume", "propagation": "rshared"}, "the volume at /x cannot have 'rshared'"),
        ({"type": "volume", "recursive": "disabled"}, "the volume at /x cannot have 'recursive disabled'"),
        ({"type": "bind", "source": "/a", "nocopy": True}, "the bind at /x cannot have nocopy"),
        ({"type": "bind", "source": "/a", "recursive": "readonly"}, "is not read-only"),
        (
            {"type": "bind", "source": "/a", "recursive": "readonly", "read_only": True, "propagation": "rslave"},
            "with all below it and rslave",
        ),
        ({"type": "tmpfs", "tmpfs_options": ("loud",)}, "option 'loud' is not known"),
    ],
)
def test_mounts_that_cannot_be(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        check_mounts([MountConfig(target="/x", **fields)])  # type: ignore[arg-type]
