"""Images that come in archives and leave in archives: layers, whiteouts, sharing, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.images import (
    BadImage,
    BlobDamaged,
    Image,
    ImageNotFound,
    Images,
    NotKept,
    TooLarge,
    UnpackFailed,
    UnsafeArchive,
)
from runtime.kernel import mount
from runtime.kernel.overlay import view
from tests.support.podman import needs_podman, podman
from tests.support.tars import (
    Member,
    config_of,
    digest,
    directory,
    docker_archive,
    hard_link,
    layer,
    link,
    member,
    oci_archive,
    tar_of,
)

BASE = layer(
    directory("etc", mode=0o750, uid=3),
    member("etc/motd", content=b"base"),
    member("etc/gone", content=b"base"),
    directory("srv"),
    member("srv/old", content=b"base"),
    directory("opt"),
    member("opt/kept", content=b"base"),
    directory("dir"),
    member("dir/below", content=b"base"),
)
CHANGE = layer(
    member("etc/.wh.gone"),
    member("etc/new", content=b"change"),
    directory("srv"),
    member("srv/.wh..wh..opq"),
    member("srv/fresh", content=b"change"),
    member(".wh.dir"),
    directory("dir"),
    member("dir/above", content=b"change"),
)
TOP = layer(member("etc/motd", content=b"top"), member("opt/.wh.missing"), hard_link("etc/motd2", "etc/motd"))
STACK = (BASE, CHANGE, TOP)
SEEN = {"etc/motd": "top", "etc/motd2": "top", "etc/new": "change", "srv/fresh": "change"} | {
    "opt/kept": "base",
    "dir/above": "change",
}


@pytest.fixture(params=["overlay", "copy"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    """With each graph driver: what a container sees is the same."""
    return Images(tmp_path / "root/images", driver=request.param)


@pytest.fixture
def store(tmp_path: Path) -> Images:
    return Images(tmp_path / "root/images")


@contextmanager
def mounted(image: Image) -> Iterator[Path]:
    """The root a container of it would have, read-only."""
    if len(image.layers) == 1:
        yield Path(image.layers[0])
        return
    seen = view(image.layers)
    try:
        yield Path(f"/proc/self/fd/{seen}")
    finally:
        os.close(seen)


def files(root: Path) -> dict[str, str]:
    found = {}
    for at, _, names in os.walk(root):
        for name in names:
            path = Path(at, name)
            found[str(path.relative_to(root))] = path.read_text()
    return found


# --- load ------------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.parametrize("make", [docker_archive, oci_archive])
def test_a_container_sees_what_the_layers_leave(images: Images, make: object) -> None:
    (image,) = images.load(make(STACK))  # type: ignore[operator]

    with mounted(image) as root:
        assert files(root) == SEEN
        assert os.path.samestat(os.stat(root / "etc/motd"), os.stat(root / "etc/motd2"))
        assert (stat.S_IMODE(os.stat(root / "etc").st_mode), os.stat(root / "etc").st_uid) == (0o750, 3)


def test_a_directory_that_a_layer_only_passes_through_looks_as_below(images: Images) -> None:
    """Not every tool lists the directories above a file; 0755 and root would be our invention."""
    (image,) = images.load(docker_archive([BASE, layer(member("etc/new", content=b"x"))]))

    top = os.stat(Path(image.layers[0], "etc"))

    assert (stat.S_IMODE(top.st_mode), top.st_uid) == (0o750, 3)


def test_the_configuration_is_what_a_container_does(store: Images) -> None:
    (image,) = store.load(
        docker_archive(
            [BASE],
            Entrypoint=["/bin/entry"],
            Cmd=["--help"],
            Env=["A=1", "B=x=y"],
            WorkingDir="/srv",
            User="daemon",
            ExposedPorts={"80/tcp": {}, "53/udp": {}},
            Volumes={"/data": {}},
            StopSignal="SIGINT",
            Labels={"made": "here"},
            Healthcheck={"Test": ["CMD", "/bin/true"], "Interval": 2_500_000_000, "Retries": 3},
        )
    )
    config = image.config

    assert (config.entrypoint, config.cmd) == (("/bin/entry",), ("--help",))
    assert config.env == (("A", "1"), ("B", "x=y"))
    assert (config.working_dir, config.user, config.stop_signal) == ("/srv", "daemon", "SIGINT")
    assert (config.exposed_ports, config.volumes) == (("53/udp", "80/tcp"), ("/data",))
    assert config.labels == (("made", "here"),)
    assert config.healthcheck is not None
    assert (config.healthcheck.test, config.healthcheck.interval_s) == (("CMD", "/bin/true"), 2.5)
    assert image.created_at == datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)


def test_its_id_is_the_digest_of_its_configuration(store: Images) -> None:
    (image,) = store.load(docker_archive(STACK))

    assert image.id == digest(config_of(STACK))
    assert image.names == ("lab/app:1",)
    for ref in ("lab/app:1", "docker.io/lab/app:1", image.id, image.id[7:19]):
        assert store.resolve(ref) == image


@pytest.mark.parametrize("program", ["gzip", "zstd", "xz"])
def test_the_archive_around_it_may_be_compressed(store: Images, program: str) -> None:
    packed = subprocess.run([program, "-c"], input=docker_archive([BASE]).getvalue(), capture_output=True, check=True)

    assert store.load(io.BytesIO(packed.stdout))[0].names == ("lab/app:1",)


def test_a_layer_may_be_compressed_by_zstd(store: Images) -> None:
    config = config_of([BASE])
    packed = subprocess.run(["zstd", "-c"], input=BASE, capture_output=True, check=True).stdout
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["z:1"], "Layers": ["l.tar"]}]).encode()
    archive = tar_of(
        [
            member("l.tar", content=packed),
            member("c.json", content=config),
            member("manifest.json", content=manifest),
        ]
    )

    (image,) = store.load(archive)

    assert Path(image.layers[0], "etc/motd").read_text() == "base"


def test_layers_are_shared_and_stay_until_the_last_image_goes(store: Images) -> None:
    store.load(docker_archive(STACK, ["one:1"]))
    store.load(docker_archive([BASE, CHANGE], ["two:1"]))
    shared = Path(store.resolve("two:1").layers[-1])
    assert store.resolve("one:1").layers[-1] == str(shared)

    gone = store.remove("one:1")
    assert (len(gone.deleted), gone.untagged) == (2, ("one:1",))  # itself and its own layer
    assert shared.exists()

    store.remove("two:1")
    store.drain()
    assert not shared.exists()
    assert (store.blobs.list(), store.layers.list()) == ([], [])


def test_several_images_and_names_in_one_archive(store: Images) -> None:
    store.load(docker_archive(STACK, ["one:1", "one:2"]))
    store.load(docker_archive([BASE], ["two:1"]))
    archive = io.BytesIO(b"".join(store.save(["one:1", "one:2", "two:1"])))
    for name in ("one:1", "one:2", "two:1"):
        store.remove(name)

    loaded = store.load(archive)

    assert {name for image in loaded for name in image.names} == {"one:1", "one:2", "two:1"}


def test_many_load_the_same_at_once(store: Images) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.load(docker_archive(STACK))[0], range(8)))

    assert len({image.id for image in found}) == 1
    assert len(store.layers.list()) == len(STACK)


# --- save ------------------------------------------------------------------------------------


def test_what_is_saved_loads_as_the_same_image(store: Images, tmp_path: Path) -> None:
    (image,) = store.load(oci_archive(STACK))
    archive = io.BytesIO(b"".join(store.save(["lab/app:1"])))

    other = Images(tmp_path / "other")
    (again,) = other.load(archive)

    assert (again.id, again.names) == (image.id, image.names)
    assert other.catalog.records()[0].manifest == store.catalog.records()[0].manifest


def test_saved_by_id_it_has_no_name(store: Images, tmp_path: Path) -> None:
    (image,) = store.load(docker_archive(STACK))

    (again,) = Images(tmp_path / "other").load(io.BytesIO(b"".join(store.save([image.id]))))

    assert (again.id, again.names) == (image.id, ())


def test_an_archive_used_by_its_path_is_not_kept_and_says_so(store: Images, tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(BASE)
    image = store.resolve(str(path))

    with pytest.raises(NotKept) as refusal:
        store.save([image.id])
    assert f"netmodel import {path}" in refusal.value.hint

    assert store.import_archive(path, "mine").id == image.id
    assert b"".join(store.save(["mine"]))


needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="missing: skopeo")


def skopeo(*arguments: str) -> str:
    return subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True, text=True
    ).stdout


@needs_skopeo
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_skopeo_reads_what_we_write_and_we_read_what_it_writes(store: Images, tmp_path: Path, form: str) -> None:
    (image,) = store.load(oci_archive(STACK))
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    ours.write_bytes(b"".join(store.save(["lab/app:1"])))

    known = json.loads(skopeo("inspect", "--config", f"{form}:{ours}"))
    skopeo("copy", f"{form}:{ours}", f"{form}:{theirs}:docker.io/lab/copy:2")
    with theirs.open("rb") as archive:
        (copy,) = store.load(archive)

    assert known["rootfs"]["diff_ids"] == [digest(one) for one in STACK]
    assert copy.names == ("lab/app:1", "lab/copy:2")
    assert copy.id == image.id


@pytest.mark.not_on("podman is not on its disk: what it reads are files, nothing of the kernel's", "uml")
@needs_podman
@pytest.mark.kernel
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_reads_what_we_write_and_we_read_what_it_writes(store: Images, tmp_path: Path, form: str) -> None:
    (image,) = store.load(docker_archive(STACK))
    ours, theirs = tmp_path / "ours.tar", tmp_path / "theirs.tar"
    ours.write_bytes(b"".join(store.save(["lab/app:1"])))
    with podman() as run:
        run("load", "-i", str(ours))
        run("tag", "docker.io/lab/app:1", "localhost/again:1")
        run("save", f"--format={form}", "-o", str(theirs), "localhost/again:1")
    store.remove("lab/app:1")
    with theirs.open("rb") as archive:
        (again,) = store.load(archive)

    assert again.names == ("localhost/again:1",)
    assert again.config == image.config
    with mounted(again) as root:
        assert files(root) == SEEN


# --- names -----------------------------------------------------------------------------------


def test_a_tag_moves_and_leaves_the_other_dangling(store: Images) -> None:
    (first,) = store.load(docker_archive(STACK, ["app:1"]))
    (second,) = store.load(docker_archive([BASE], ["app:2"]))

    store.tag("app:2", "app:1")

    assert store.resolve("app:1") == store.resolve("app:2")
    assert store.resolve(first.id).names == ()
    assert [image.id for image in store.prune()] == [first.id]
    assert [image.id for image in store.list()[1:]] == [second.id]


def test_the_names_are_there_after_a_restart(store: Images, tmp_path: Path) -> None:
    (image,) = store.load(docker_archive(STACK))
    store.drain()

    assert Images(tmp_path / "root/images").resolve("lab/app:1") == image


# --- faults ----------------------------------------------------------------------------------


def test_an_unsettled_layer_of_an_earlier_boot_is_unpacked_again(store: Images, tmp_path: Path) -> None:
    """The power went before it had reached the disk: what stands there cannot be trusted."""
    (image,) = store.load(docker_archive([BASE]))
    store.drain()
    Path(image.layers[0], "etc/motd").write_text("")  # as after a power cut
    chain = os.path.basename(image.layers[0])
    (tmp_path / f"root/images/unsettled/00000000-0000.layer.{chain}").touch()

    again = Images(tmp_path / "root/images")

    assert not again.layers.has(chain)
    assert Path(again.resolve("lab/app:1").layers[0], "etc/motd").read_text() == "base"


def test_nothing_is_unsettled_in_the_end(store: Images, tmp_path: Path) -> None:
    store.load(docker_archive(STACK))
    store.drain()

    assert os.listdir(tmp_path / "root/images/unsettled") == []


def test_a_corrupted_blob_is_noticed_and_not_passed_on(store: Images) -> None:
    (image,) = store.load(oci_archive([BASE]))
    blob = store.blobs.path(store.catalog.records()[0].layers[0].blob)
    content = bytearray(blob.read_bytes())
    content[-9] ^= 1
    blob.write_bytes(content)

    with pytest.raises(BlobDamaged, match="its content is not what it was"):
        b"".join(store.save([image.id]))

    shutil.rmtree(image.layers[0])
    with pytest.raises((BlobDamaged, BadImage)):
        store.resolve("lab/app:1")
    assert not blob.exists()  # so that the next load brings a good one
    assert store.load(oci_archive([BASE]))[0].id == image.id


def test_a_blob_that_is_not_its_digest_is_refused(store: Images) -> None:
    archive = oci_archive([BASE]).getvalue().replace(b"lab", b"lob")
    packed = gzip.compress(BASE, mtime=0)
    bad = packed[:-1] + bytes([packed[-1] ^ 1])

    with pytest.raises(BlobDamaged):
        store.load(io.BytesIO(archive.replace(packed, bad)))

    assert (store.list()[1:], store.layers.list(), store.blobs.list()) == ((), [], [])


def test_a_layer_that_is_not_what_the_configuration_says_is_refused(store: Images) -> None:
    archive = docker_archive([BASE]).getvalue().replace(b"base", b"evil")

    with pytest.raises(BlobDamaged, match="unpacks to"):
        store.load(io.BytesIO(archive))

    store.drain()
    assert (store.list()[1:], store.layers.list()) == ((), [])


@pytest.mark.parametrize("name", [".wh...", ".wh..", ".wh."])
def test_a_whiteout_of_no_entry_is_refused(images: Images, name: str) -> None:
    with pytest.raises(UnsafeArchive, match="no entry"):
        images.load(docker_archive([BASE, layer(member(f"etc/{name}"))]))


def test_whiteouts_do_not_reach_outside(images: Images, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/kept").write_text("kept")
    evil = layer(link("way", str(tmp_path / "victim")), member("way/.wh.kept"), member("way/.wh..wh..opq"))

    with pytest.raises(UnsafeArchive, match="behind a link"):
        images.load(docker_archive([BASE, evil]))
    images.load(docker_archive([layer(link("way", str(tmp_path / "victim"))), layer(member("way/.wh.kept"))]))

    assert (tmp_path / "victim/kept").read_text() == "kept"


def zeros(count: int) -> bytes:
    """The archive of a layer with a file of zeros, compressed to a thousandth of that; what follows them is missing."""
    packer = zlib.compressobj(wbits=31)
    info = tarfile.TarInfo("zeros")
    info.size = count
    head = packer.compress(info.tobuf()) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing refers to what was before: each part looks alike.
    return head + (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * (count >> 20)


def test_a_billion_zeros_are_refused(store: Images, tmp_path: Path) -> None:
    bomb = zeros(1 << 30)
    assert len(bomb) < 2 << 20

    with pytest.raises(TooLarge, match="MiB and more"):
        store.import_stream(io.BytesIO(bomb), "bomb.tar.gz")

    store.drain()
    assert store.layers.list() == store.blobs.list() == []


def test_a_sparse_file_of_an_exabyte_is_refused(store: Images, tmp_path: Path) -> None:
    """Its zeros are not even in the archive."""
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    subprocess.run(["tar", "-cSf", tmp_path / "s.tar", "-C", tmp_path, "sparse"], check=True)

    with pytest.raises(TooLarge):
        store.resolve(str(tmp_path / "s.tar"))


def test_a_header_made_to_fill_memory_is_refused(store: Images) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.XHDTYPE, (1 << 33) - 1

    with pytest.raises(BadImage, match="header of"):
        store.import_stream(io.BytesIO(info.tobuf() + bytes(1 << 20)), "x.tar")


def members_of(archive: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return [(one, file.read() if (file := tar.extractfile(one)) else b"") for one in tar]


@pytest.mark.parametrize("make", [docker_archive, oci_archive])
@pytest.mark.parametrize("missing", range(1, 7))
def test_an_archive_that_lacks_a_part_is_refused_whole(store: Images, make: object, missing: int) -> None:
    members = members_of(make(STACK).getvalue())  # type: ignore[operator]
    del members[missing % len(members)]

    try:
        store.load(tar_of(members))
    except BadImage:
        store.drain()
        assert (store.list()[1:], store.blobs.list()) == ((), [])
    else:
        assert store.resolve("lab/app:1").layers  # a directory's entry, or Docker's VERSION


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "[1]", '[{"Layers": [1]}]', '[{"Config": "x"}]', "null"])
def test_nonsense_for_a_manifest_is_refused(store: Images, text: str) -> None:
    with pytest.raises(BadImage):
        store.load(tar_of([member("manifest.json", content=text.encode())]))
    with pytest.raises(BadImage):
        store.load(tar_of([member("index.json", content=text.encode()), member("oci-layout")]))


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system with little room, attached nowhere."""
    memory = mount.new_filesystem("tmpfs", [("size", size)])
    try:
        yield Path(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)


@pytest.mark.kernel
@pytest.mark.parametrize("size", ["100k", "700k", "1500k"])
def test_a_full_disk_is_told_and_leaves_room_again(size: str) -> None:
    """Full while a blob comes, and while a layer is unpacked."""
    big = layer(*(member(f"file{n}", content=os.urandom(20_000)) for n in range(30)))
    with small_disk(size) as disk:
        store = Images(disk / "images")
        with pytest.raises((OSError, UnpackFailed), match=r"(?i)no space left"):
            store.load(docker_archive([big, layer(member("more", content=os.urandom(500_000)))]))
        store.drain()

        assert (store.list()[1:], store.layers.list(), store.blobs.list()) == ((), [], [])
        assert store.load(docker_archive([layer(directory("etc"))]))[0].layers


def test_an_image_that_is_gone_is_not_found(store: Images) -> None:
    store.load(docker_archive([BASE]))
    store.remove("lab/app:1")

    with pytest.raises(ImageNotFound):
        store.resolve("lab/app:1")
