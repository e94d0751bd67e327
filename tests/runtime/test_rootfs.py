"""Writable layers: kept while wanted, gone at once when not, whatever a container made of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime import trash
from runtime.errors import RuntimeFault
from runtime.kernel import clone, mount
from runtime.rootfs import Layers
from tests.support.box import in_thread

ID = "ab" * 32


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path / "containers")


def test_a_layer_is_two_empty_directories_behind_a_door_for_root(layers: Layers, tmp_path: Path) -> None:
    upper, work = layers.create(ID)

    assert os.listdir(upper) == os.listdir(work) == []
    assert stat.S_IMODE(upper.stat().st_mode) == 0o755
    assert stat.S_IMODE(upper.parent.stat().st_mode) == 0o700
    assert layers.containers() == [ID]


def test_a_stopped_container_keeps_its_files(layers: Layers) -> None:
    upper, _ = layers.create(ID)
    (upper / "kept").touch()

    assert layers.create(ID)[0] == upper
    assert (upper / "kept").exists()


def test_the_root_directory_is_the_images(layers: Layers, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    os.chown(image, 33, 44)
    os.chmod(image, 0o1711)

    status = os.stat(layers.create(ID, like=str(image))[0])

    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (33, 44, 0o1711)


def test_the_layer_beneath_all_has_places_and_nothing_else(layers: Layers) -> None:
    below = Path(layers.below())

    found = {str(path.relative_to(below)): stat.filemode(path.stat().st_mode) for path in below.rglob("*")}
    directories = dict.fromkeys(("dev", "etc", "proc", "sys"), "drwxr-xr-x")
    files = dict.fromkeys(("etc/hostname", "etc/hosts", "etc/resolv.conf"), "-rw-r--r--")
    assert found == directories | files
    assert layers.below() == Layers(below.parent).below() == str(below)
    assert layers.containers() == []


def test_a_file_system_that_cannot_limit_one_is_named(layers: Layers) -> None:
    with pytest.raises(RuntimeFault, match=r"cannot be limited in size: the .* enforces no project quotas") as refused:
        layers.create(ID, size_bytes=1 << 20)
    assert "mount" in refused.value.hint


def test_what_is_deleted_moves_out_of_the_way_and_is_gone_in_the_end(layers: Layers, tmp_path: Path) -> None:
    """Nobody waits while thousands of files go."""
    upper, work = layers.create(ID)
    (upper / "file").touch()
    (work / "work").mkdir(mode=0)  # as overlay leaves it
    held = os.open(upper, os.O_PATH)

    layers.delete(ID)
    layers.delete(ID)

    assert layers.containers() == []
    assert "/containers/.trash/" in os.readlink(f"/proc/self/fd/{held}")
    os.close(held)
    layers.drain()
    assert os.listdir(tmp_path / "containers/.trash") == []


def test_directories_without_end_are_no_trap(layers: Layers, tmp_path: Path) -> None:
    """Deeper than a path may be long, than descriptors may be many, and than Python may recurse."""
    upper, _ = layers.create(ID)
    directory = os.open(upper, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=directory)
        os.close(os.open("f", os.O_CREAT, dir_fd=directory))
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)

    layers.delete(ID)
    layers.drain()

    assert os.listdir(tmp_path / "containers/.trash") == []


def test_links_are_deleted_not_followed(layers: Layers, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    upper, _ = layers.create(ID)
    (upper / "way").symlink_to(tmp_path / "outside")

    layers.delete(ID)
    layers.drain()

    assert (tmp_path / "outside/kept").exists()


def test_what_a_crash_left_in_the_trash_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "containers/.trash/old/upper").mkdir(parents=True)

    Layers(tmp_path / "containers").drain()

    assert os.listdir(tmp_path / "containers/.trash") == []


@pytest.mark.parametrize("name", ["", ".trash", "../x", "a/b"])
def test_only_ids_are_taken(layers: Layers, name: str) -> None:
    with pytest.raises(ValueError, match="id of a container"):
        layers.delete(name)


@pytest.mark.kernel
def test_what_is_mounted_in_a_layer_is_not_deleted_with_it(tmp_path: Path) -> None:
    """A bind of the same file system has the same device number: only the kernel can tell it apart."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("kept")
    point = tmp_path / "trash/layer/mnt"
    point.mkdir(parents=True)
    (tmp_path / "trash/layer/other").touch()

    def body() -> list[OSError]:
        clone.unshare(clone.CLONE_NEWNS)
        mount.make_rprivate("/")
        copy = mount.clone_tree(str(precious))
        target = os.open(point, os.O_PATH)
        mount.attach(copy, target)
        os.close(target)
        os.close(copy)
        return trash.empty(tmp_path / "trash")

    failures = in_thread(body)

    assert "mounted" in str(failures[0])
    assert (precious / "data").read_text() == "kept"
    assert not (tmp_path / "trash/layer/other").exists()
    assert trash.empty(tmp_path / "trash") == []  # here it is not mounted
