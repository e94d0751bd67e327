"""Volumes: their names and options, what fills them, and what is left of them."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.images import Image, Images
from runtime.spec import BindMount, TmpfsMount
from runtime.volumes import (
    InvalidVolumeName,
    InvalidVolumeOption,
    VolumeExists,
    VolumeNotFound,
    Volumes,
    VolumeUnusable,
)


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path / "volumes")


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """An image's layer with something at /srv/data."""
    data = tmp_path / "layer/srv/data"
    data.mkdir(parents=True)
    (data / "file").write_text("from the image")
    return tmp_path / "layer"


def image_of(*layers: Path, mounts: tuple[BindMount | TmpfsMount, ...] = ()) -> Image:
    return Image(id="sha256:0", names=(), layers=tuple(map(str, layers)), created_at=datetime.now(UTC), mounts=mounts)


# --- names and options -----------------------------------------------------------------------


def test_a_volume_is_a_directory_that_stays(volumes: Volumes, tmp_path: Path) -> None:
    assert volumes.create("data") == "data"
    (volumes.path("data") / "kept").touch()

    assert volumes.create("data") == "data"

    assert os.listdir(volumes.path("data")) == ["kept"]
    assert volumes.list() == ("data",)
    assert volumes.mount("data", "c", "/d", read_only=True) == BindMount(
        source=str(volumes.path("data")), target="/d", read_only=True
    )
    assert stat.S_IMODE((tmp_path / "volumes").stat().st_mode) == 0o700


def test_one_without_a_name_gets_one(volumes: Volumes) -> None:
    first, second = volumes.create(), volumes.create()

    assert first != second
    assert len(first) == 64
    assert int(first, 16)


def test_a_removed_volume_is_gone(volumes: Volumes, tmp_path: Path) -> None:
    volumes.create("data")
    (volumes.path("data") / "x").touch()

    volumes.remove("data")
    volumes.remove("data")

    assert volumes.list() == ()
    with pytest.raises(VolumeNotFound, match="data"):
        volumes.path("data")
    volumes.drain()
    assert os.listdir(tmp_path / "volumes/.trash") == []


@pytest.mark.parametrize("name", [".trash", "-x", "a/b", "../x", "a b", "x" * 256])
def test_names_that_cannot_be_given(volumes: Volumes, name: str) -> None:
    with pytest.raises(InvalidVolumeName):
        volumes.create(name)
    with pytest.raises(InvalidVolumeName):
        volumes.remove(name)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"typo": "x"}, "typo"),
        ({"type": "ext4"}, "type=ext4: device= is missing"),
        ({"size": "1g"}, "size=1g: the .* enforces no project quotas"),
        ({"size": "many"}, "size=many: no size"),
        ({"size": "0"}, "size=0: no size"),
        ({"size": "1g", "type": "tmpfs"}, "size=1g: a volume with type= has the size of what it is made of"),
        ({"type": "ext4", "device": "/dev/x", "o": "remount"}, "o=remount"),
        ({"type": "none", "device": "/srv"}, "type=none: o=bind and device= are missing"),
        ({"type": "none", "o": "bind", "device": "relative"}, "device=relative"),
        ({"type": "tmpfs", "o": "size=1m,volume=loud"}, "o=volume=loud"),
        ({"type": "none", "o": "bind,loud", "device": "/srv"}, "o=loud"),
        ({"device": "/dev/x"}, "device=/dev/x: type= is missing"),
    ],
)
def test_options_that_are_refused(volumes: Volumes, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidVolumeOption, match=complaint):
        volumes.create("data", options)

    assert volumes.list() == ()


def test_other_options_are_another_volume(volumes: Volumes, tmp_path: Path) -> None:
    volumes.create("data", {"type": "none", "o": "bind", "device": str(tmp_path)})

    with pytest.raises(VolumeExists, match="data"):
        volumes.create("data")


def test_a_bind_is_a_directory_of_the_users_and_outlives_its_volume(volumes: Volumes, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    volumes.create("data", {"type": "none", "o": "bind,ro", "device": str(mine)})

    with pytest.raises(VolumeUnusable) as refusal:
        volumes.mount("data", "c", "/d")
    assert refusal.value.hint == f"mkdir -p {mine}"

    mine.mkdir()
    (mine / "file").touch()
    assert volumes.mount("data", "c", "/d") == BindMount(source=str(mine), target="/d", read_only=True)
    volumes.remove("data")
    volumes.drain()
    assert (mine / "file").exists()


@pytest.mark.kernel
def test_a_tmpfs_is_shared_until_it_is_removed(volumes: Volumes) -> None:
    volumes.create("fast", {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=750,nosuid"})
    data = Path(volumes.mount("fast", "c", "/f").source)
    try:
        (data / "shared").write_text("x")
        assert volumes.mount("fast", "d", "/g").source == str(data)

        assert (data / "shared").read_text() == "x"
        assert os.statvfs(data).f_blocks * os.statvfs(data).f_frsize == 1 << 20
        assert os.statvfs(data).f_flag & os.ST_NOSUID
        assert stat.S_IMODE(data.stat().st_mode) == 0o750
    finally:
        volumes.remove("fast")
    assert str(data) not in Path("/proc/self/mountinfo").read_text()


def test_what_a_crash_left_half_made_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "volumes/.0123456789abcdef/_data").mkdir(parents=True)

    Volumes(tmp_path / "volumes").drain()

    assert os.listdir(tmp_path / "volumes") == [".trash"]


def test_usage_counts_a_file_with_two_names_once(volumes: Volumes) -> None:
    volumes.create("data")
    data = volumes.path("data")
    (data / "d").mkdir()
    (data / "d/one").write_bytes(os.urandom(1 << 20))
    os.link(data / "d/one", data / "two")
    (data / "way").symlink_to("/usr")

    assert 1 << 20 <= volumes.usage("data") < (1 << 20) + 65536


# --- what an image gives ---------------------------------------------------------------------


@pytest.mark.kernel
def test_an_empty_volume_gets_what_the_image_has_there(volumes: Volumes, layer: Path) -> None:
    data = layer / "srv/data"
    os.chown(data, 33, 44)
    os.chmod(data, 0o2770)
    (data / "deep/er").mkdir(parents=True)
    (data / "deep/er/tool").write_text("#!/bin/sh")
    os.chown(data / "deep/er/tool", 5, 6)
    os.chmod(data / "deep/er/tool", 0o4755)
    os.link(data / "file", data / "deep/same")
    (data / "way").symlink_to("/etc/passwd")
    os.mkfifo(data / "pipe")
    os.setxattr(data / "file", "user.note", b"x")
    os.utime(data / "file", (1, 2))
    volumes.create("data")

    assert volumes.populate("data", image_of(layer), "/srv/data")

    copied = volumes.path("data")
    assert sorted(os.listdir(copied)) == ["deep", "file", "pipe", "way"]
    assert (copied / "file").read_text() == "from the image"
    assert os.path.samefile(copied / "file", copied / "deep/same")
    assert os.readlink(copied / "way") == "/etc/passwd"
    assert os.getxattr(copied / "file", "user.note") == b"x"
    assert os.stat(copied / "file").st_mtime == 2
    root, tool = os.stat(copied), os.stat(copied / "deep/er/tool")
    assert (root.st_uid, root.st_gid, stat.S_IMODE(root.st_mode)) == (33, 44, 0o2770)
    assert (tool.st_uid, tool.st_gid, stat.S_IMODE(tool.st_mode)) == (5, 6, 0o4755)
    assert sorted(os.listdir(copied.parent)) == ["_data"]


@pytest.mark.kernel
def test_a_volume_with_content_keeps_it(volumes: Volumes, layer: Path) -> None:
    volumes.create("data")
    (volumes.path("data") / "mine").touch()

    assert not volumes.populate("data", image_of(layer), "/srv/data")

    assert os.listdir(volumes.path("data")) == ["mine"]


@pytest.mark.kernel
@pytest.mark.parametrize("target", ["/missing", "/srv/data/file", "/srv/missing/deeper"])
def test_where_the_image_has_no_directory_the_volume_stays_empty(volumes: Volumes, layer: Path, target: str) -> None:
    volumes.create("data")

    assert not volumes.populate("data", image_of(layer), target)

    assert os.listdir(volumes.path("data")) == []


@pytest.mark.kernel
def test_links_of_the_image_stay_in_the_image(volumes: Volumes, layer: Path) -> None:
    (layer / "inside").symlink_to("/srv/data")
    (layer / "outside").symlink_to("../../../../../../../../etc")
    volumes.create("one")
    volumes.create("two")

    assert volumes.populate("one", image_of(layer), "/inside")
    assert not volumes.populate("two", image_of(layer), "/outside")

    assert os.listdir(volumes.path("one")) == ["file"]


@pytest.mark.kernel
def test_layers_are_seen_as_the_container_sees_them(volumes: Volumes, layer: Path, tmp_path: Path) -> None:
    """The topmost wins, and a whiteout hides what is below."""
    above = tmp_path / "above:with,odd\\name"
    (above / "srv/data").mkdir(parents=True)
    (above / "srv/data/more").write_text("from above")
    os.mknod(above / "srv/data/file", stat.S_IFCHR, os.makedev(0, 0))
    volumes.create("data")

    volumes.populate("data", image_of(above, layer), "/srv/data")

    assert os.listdir(volumes.path("data")) == ["more"]


@pytest.mark.kernel
def test_what_the_image_covers_is_not_copied(volumes: Volumes, layer: Path) -> None:
    (layer / "way").symlink_to("srv")
    image = image_of(layer, mounts=(TmpfsMount(target="/srv"),))
    volumes.create("data")

    assert not volumes.populate("data", image, "/srv/data")
    assert not volumes.populate("data", image, "/way/data")


@pytest.mark.kernel
def test_what_the_image_binds_is_copied_from_there(volumes: Volumes, layer: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/data"
    other.mkdir(parents=True)
    (other / "elsewhere").touch()
    image = image_of(layer, mounts=(BindMount(source=str(tmp_path / "other"), target="/srv", read_only=True),))
    volumes.create("data")

    assert volumes.populate("data", image, "/srv/data")

    assert os.listdir(volumes.path("data")) == ["elsewhere"]


@pytest.mark.kernel
@pytest.mark.parametrize("target", ["/proc", "/sys/kernel", "/dev/shm", "/tmp", "/var/run"])
def test_host_gives_what_is_installed_never_what_is_running(volumes: Volumes, tmp_path: Path, target: str) -> None:
    volumes.create("data")

    volumes.populate("data", Images(tmp_path / "images").resolve("host"), target)

    assert os.listdir(volumes.path("data")) == []


@pytest.mark.kernel
def test_a_crash_while_copying_starts_over_and_one_while_moving_goes_on(volumes: Volumes, layer: Path) -> None:
    for name in ("copying", "moving"):
        volumes.create(name)
    part = volumes.path("copying").parent / "_copy.part"
    part.mkdir()
    (part / "half").touch()
    whole = volumes.path("moving").parent / "_copy"
    whole.mkdir(mode=0o711)
    (whole / "second").touch()
    (volumes.path("moving") / "first").touch()

    assert volumes.populate("copying", image_of(layer), "/srv/data")
    assert not volumes.populate("moving", image_of(layer), "/srv/data")

    assert os.listdir(volumes.path("copying")) == ["file"]
    assert sorted(os.listdir(volumes.path("moving"))) == ["first", "second"]
    assert stat.S_IMODE(os.stat(volumes.path("moving")).st_mode) == 0o711
    assert os.listdir(volumes.path("moving").parent) == ["_data"]


@pytest.mark.kernel
def test_a_tmpfs_is_filled_not_what_lies_below_it(volumes: Volumes, layer: Path) -> None:
    volumes.create("fast", {"type": "tmpfs", "o": "size=1m"})
    try:
        assert volumes.populate("fast", image_of(layer), "/srv/data")
        assert os.listdir(volumes.mount("fast", "c", "/f").source) == ["file"]
    finally:
        volumes.remove("fast")


@pytest.mark.kernel
def test_a_copy_that_fails_leaves_the_volume_empty(volumes: Volumes, layer: Path) -> None:
    volumes.create("small", {"type": "tmpfs", "o": "size=64k"})
    (layer / "srv/data/big").write_bytes(bytes(1 << 20))
    data = Path(volumes.mount("small", "c", "/s").source)
    try:
        with pytest.raises(VolumeUnusable, match="no space left") as refusal:
            volumes.populate("small", image_of(layer), "/srv/data")
        assert "room" in refusal.value.hint
        assert os.listdir(data) == []
    finally:
        volumes.remove("small")
