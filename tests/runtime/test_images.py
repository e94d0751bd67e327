"""What may be called an image, what it becomes, and what is kept of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.images import BadImage, ImageNotFound, Images, InvalidImageName
from runtime.images.host import host_image, other_file_systems
from runtime.kernel import mount
from runtime.kernel.path import open_in
from runtime.spec import BindMount, TmpfsMount


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "root/images")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root file system with little in it."""
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_text("#!/bin/sh\n")
    (root / "etc").mkdir()
    (root / "etc/motd").write_text("hello\n")
    return root


@pytest.fixture
def archive(tmp_path: Path, tree: Path) -> Path:
    return pack(tree, tmp_path / "rootfs.tar")


def pack(tree: Path, target: Path) -> Path:
    with tarfile.open(target, "w") as tar:
        tar.add(tree, arcname=".")
    return target


# --- host ------------------------------------------------------------------------------------


def test_host_is_the_machine_with_places_of_its_own(tmp_path: Path) -> None:
    image = Images(tmp_path / "images").resolve("host")

    assert image.layers[-1] == "/"  # above it, where there is a place for that, what covers secrets
    assert image.config.cmd == ("/bin/sh",)
    assert [mounted.target for mounted in image.mounts if isinstance(mounted, TmpfsMount)][:2] == ["/tmp", "/run"]


def test_host_hides_the_engines_own_files() -> None:
    mask = host_image(Path("/var/lib/netmodel")).mounts[-1]

    assert isinstance(mask, TmpfsMount)
    assert mask.target == "/var/lib/netmodel"
    assert "ro" in mask.options


def test_host_needs_no_mask_for_what_a_private_tmpfs_hides() -> None:
    assert [mounted.target for mounted in host_image(Path("/run/netmodel/root")).mounts][-2:] == ["/tmp", "/run"]


def test_host_shows_system_file_systems_that_are_mounted_apart() -> None:
    """A layer shows one file system; programs on another would be missing from the containers."""
    mountinfo = r"""22 27 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw - ext4 /dev/vda rw
28 27 254:1 / /usr rw shared:1 - ext4 /dev/vdb rw
29 27 254:2 / /home rw - xfs /dev/vdc rw
30 27 0:9 / /var/tmp rw - tmpfs tmpfs rw
31 27 254:3 / /var/lib/netmodel/volumes/x rw - ext4 /dev/vdd rw
32 27 254:4 / /opt/my\040tools rw - ext4 /dev/vde rw
33 27 254:5 / /mnt/backup rw - ext4 /dev/vdf rw
"""
    assert list(other_file_systems(mountinfo, "/var/lib/netmodel")) == [
        BindMount(source=path, target=path, read_only=True) for path in ("/usr", "/home", "/opt/my tools")
    ]


@pytest.mark.kernel
def test_the_root_may_be_a_layer_below_a_directory_in_it(tmp_path: Path) -> None:
    """Overlay takes a lower layer that contains its own upper directory; the machine is not written to."""
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    seen = mount.new_filesystem("overlay", [("lowerdir", "/"), ("upperdir", str(upper)), ("workdir", str(work))])
    try:
        etc = open_in(seen, "/etc", os.O_RDONLY | os.O_DIRECTORY)
        assert "passwd" in os.listdir(etc)
        os.close(os.open("netmodel-was-here", os.O_CREAT, dir_fd=etc))
        os.close(etc)
    finally:
        os.close(seen)

    assert (upper / "etc/netmodel-was-here").exists()
    assert not Path("/etc/netmodel-was-here").exists()


# --- directories -----------------------------------------------------------------------------


def test_a_directory_is_an_image_as_it_stands(images: Images, tree: Path) -> None:
    image = images.resolve(str(tree))

    assert image.layers == (str(tree),)
    assert image.mounts == ()
    assert images.resolve("./tree", base=tree.parent).id == image.id
    assert images.resolve("../tree/./", base=tree).id == image.id
    assert images.list()[1:] == ()  # it is the user's, not ours


def test_a_link_to_a_directory_is_that_directory(images: Images, tree: Path) -> None:
    (tree.parent / "link").symlink_to(tree)

    assert images.resolve("./link", base=tree.parent).id == images.resolve(str(tree)).id


def test_the_machines_root_is_only_had_as_host(images: Images) -> None:
    with pytest.raises(BadImage) as refusal:
        images.resolve("/")

    assert "host" in refusal.value.hint


def test_what_is_neither_directory_nor_file_is_no_image(images: Images) -> None:
    with pytest.raises(BadImage, match="/dev/null"):
        images.resolve("/dev/null")


# --- archives --------------------------------------------------------------------------------


def test_an_archive_is_unpacked_once(images: Images, archive: Path, tmp_path: Path) -> None:
    image = images.resolve(str(archive))
    layer = Path(image.layers[0])
    before = layer.stat()

    copy = shutil.copy(archive, tmp_path / "copy.tar")

    assert (layer / "etc/motd").read_text() == "hello\n"
    assert images.resolve(str(archive)) == image
    assert images.resolve(str(copy)) == image
    assert layer.stat().st_ino == before.st_ino
    assert image.size_bytes == len("#!/bin/sh\n") + len("hello\n")


def test_a_changed_archive_is_another_image(images: Images, archive: Path, tree: Path) -> None:
    first = images.resolve(str(archive))
    (tree / "etc/motd").write_text("changed\n")
    pack(tree, archive)

    second = images.resolve(str(archive))

    assert second.id != first.id
    assert Path(first.layers[0], "etc/motd").read_text() == "hello\n"


@pytest.mark.parametrize(("suffix", "program"), [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd")])
def test_compression_is_recognised_by_content(
    images: Images, archive: Path, tmp_path: Path, suffix: str, program: str
) -> None:
    packed = tmp_path / "misnamed.tar"
    if suffix == "zst":
        if shutil.which(program) is None:
            packed.write_bytes(b"\x28\xb5\x2f\xfd....")
            with pytest.raises(BadImage) as refusal:
                images.resolve(str(packed))
            assert "zstd" in refusal.value.hint
            return
        packed.write_bytes(subprocess.run([program, "-c", archive], check=True, capture_output=True).stdout)
    else:
        with tarfile.open(packed, f"w:{suffix}") as tar:
            tar.add(tmp_path / "tree", arcname=".")

    assert Path(images.resolve(str(packed)).layers[0], "etc/motd").read_text() == "hello\n"


@pytest.mark.parametrize("content", [b"", b"not a tar archive" * 100, b"\x1f\x8b\x08 broken gzip"])
def test_what_is_no_archive_is_refused_and_leaves_nothing(images: Images, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.tar"
    path.write_bytes(content)

    with pytest.raises(BadImage, match=r"bad\.tar"):
        images.resolve(str(path))

    images.drain()
    assert images.list()[1:] == ()
    assert os.listdir(tmp_path / "root/images/layers") == []


def test_an_archive_cut_short_leaves_nothing(images: Images, archive: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "etc/big").write_bytes(os.urandom(100_000))
    content = pack(tree, archive).read_bytes()
    archive.write_bytes(content[: len(content) - 60_000])

    with pytest.raises(BadImage):
        images.resolve(str(archive))

    images.drain()
    assert os.listdir(tmp_path / "root/images/layers") == []


def test_the_archives_of_image_tools_are_told_apart(images: Images, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layout.mkdir()
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "manifest.json").write_text("[]")

    with pytest.raises(BadImage) as refusal:
        images.resolve(str(pack(layout, tmp_path / "saved.tar")))

    assert "netmodel load" in refusal.value.hint


def test_many_may_want_the_same_archive_at_once(images: Images, archive: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(images.resolve, [str(archive)] * 8))

    assert len({image.id for image in found}) == 1
    assert len(images.list()) == 2


def test_what_a_crash_left_half_unpacked_goes_at_the_next_start(tmp_path: Path) -> None:
    layers = tmp_path / "images/layers"
    (layers / ".dead/etc").mkdir(parents=True)
    (layers / ".alive").mkdir()
    alive = os.open(layers / ".alive", os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)

    Images(tmp_path / "images").drain()

    assert os.listdir(layers) == [".alive"]
    os.close(alive)


# --- names -----------------------------------------------------------------------------------


def test_a_name_stands_for_an_archive(images: Images, archive: Path) -> None:
    image = images.import_archive(archive, "lab/router:2")

    assert image.names == ("lab/router:2",)
    assert images.resolve("lab/router:2") == image
    assert images.resolve(image.id) == image
    assert images.resolve(image.id.removeprefix("sha256:")[:12]) == image
    archive.unlink()
    assert images.resolve("lab/router:2") == image


def test_no_tag_is_latest(images: Images, archive: Path) -> None:
    image = images.import_archive(archive, "router")

    assert image.names == ("router:latest",)
    assert images.resolve("router:latest") == images.resolve("router") == image


def test_an_image_goes_with_its_last_name(images: Images, archive: Path) -> None:
    images.import_archive(archive, "one")
    layer = Path(images.import_archive(archive, "two").layers[0])

    images.remove("one")
    assert images.resolve("two").names == ("two:latest",)

    images.remove("two")
    images.drain()
    assert not layer.exists()
    with pytest.raises(ImageNotFound):
        images.resolve("two")


def test_removing_by_id_takes_every_name(images: Images, archive: Path) -> None:
    image = images.import_archive(archive, "one")
    images.import_archive(archive, "two")

    images.remove(image.id)

    assert images.list()[1:] == ()


def test_prune_keeps_what_is_named_or_used(images: Images, archive: Path, tree: Path, tmp_path: Path) -> None:
    named = images.import_archive(archive, "named")
    (tree / "etc/motd").write_text("used\n")
    used = images.resolve(str(pack(tree, tmp_path / "used.tar")))
    (tree / "etc/motd").write_text("unused\n")
    unused = images.resolve(str(pack(tree, tmp_path / "unused.tar")))

    assert images.prune(in_use=[used.id]) == (unused,)
    assert {image.id for image in images.list()[1:]} == {named.id, used.id}


@pytest.mark.parametrize(
    "name", ["", "UPPER", "a b", "../x", "a//b", "-x", "x:", "x:a:b", "host", "host:latest", "x" * 300]
)
def test_names_that_cannot_be_given(images: Images, archive: Path, name: str) -> None:
    with pytest.raises(InvalidImageName):
        images.import_archive(archive, name)


@pytest.mark.parametrize("name", ["a", "a/b.c__d-e/f:V1.2_3", "registry.lan:5000/team/app:latest"])
def test_names_that_can(images: Images, archive: Path, name: str) -> None:
    images.import_archive(archive, name)

    assert images.resolve(name).layers


def test_host_stays(images: Images) -> None:
    with pytest.raises(InvalidImageName, match="machine itself"):
        images.remove("host")


def test_an_image_that_is_not_here_and_the_hint_says_what_is(images: Images, archive: Path) -> None:
    images.import_archive(archive, "mine")

    with pytest.raises(ImageNotFound) as refusal:
        images.resolve("nginx:latest")

    assert str(refusal.value) == "there is no image nginx:latest"
    assert "host, mine:latest" in refusal.value.hint
    assert "netmodel pull" in refusal.value.hint


def test_a_path_without_its_dot_is_pointed_out(images: Images, tree: Path) -> None:
    with pytest.raises(ImageNotFound) as refusal:
        images.resolve("tree", base=tree.parent)

    assert "./tree" in refusal.value.hint


def test_a_missing_path_is_named(images: Images, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound) as refusal:
        images.resolve("./missing", base=tmp_path)

    assert f"{tmp_path}/missing does not exist" in refusal.value.hint
