"""Images made of what containers have written: what they hold, whose it is, and that others can use them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from runtime.images import CannotCommit, Image, Images, UnpackFailed, Written
from runtime.images.stream import Joined
from runtime.spec import RootFs
from tests.runtime.lab import Lab, process
from tests.runtime.test_images_load import files, mounted
from tests.support.tars import config_of, directory, docker_archive, layer, link, member

BUSYBOX = Path("/bin/busybox")
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not BUSYBOX.exists(), reason="missing: busybox-static"),
]

BASE = layer(
    directory("bin"),
    member("bin/busybox", content=BUSYBOX.read_bytes() if BUSYBOX.exists() else b"", mode=0o755),
    *(link(f"bin/{name}", "busybox") for name in ("sh", "rm", "mkdir", "chown", "chmod", "ln", "echo", "touch", "mv")),
    directory("etc"),
    member("etc/gone", content=b"base"),
    member("etc/kept", content=b"base", uid=5),
    directory("srv", uid=7, mode=0o750),
    member("srv/old", content=b"base"),
    directory("whole"),
    member("whole/below", content=b"base"),
)
SCRIPT = """
rm /etc/gone
rm -r /srv; mkdir /srv; echo -n new > /srv/new
rm -r /whole; mkdir /whole
mkdir /data; echo -n mine > /data/one; ln /data/one /data/two; ln -s one /data/way
chown 33:44 /data/one; chmod 4755 /data/one
"""


class Left:
    """A container that has run, and what it left."""

    def __init__(self, lab: Lab, image: Image, script: str, **fields: object) -> None:
        place = lab.directory / "written"
        for name in ("upper", "work"):
            (place / name).mkdir(parents=True)
        rootfs = RootFs(layers=image.layers, upper=f"{place}/upper", work=f"{place}/work")
        spec = lab.start(process("/bin/sh", "-ec", script), rootfs=rootfs, **fields)
        assert lab.ended(spec).exit_code == 0, lab.output(spec)
        self.upper = place / "upper"


@pytest.fixture(params=["overlay", "copy"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images:
    return Images(tmp_path / "root/images", driver=request.param)


def load(images: Images, **config: object) -> Image:
    (image,) = images.load(docker_archive([BASE], ["lab/base:1"], **config))
    return image


def test_it_holds_what_the_container_saw(images: Images, lab: Lab, tmp_path: Path) -> None:
    """Under a user namespace; what was removed stays so, and what was made anew hides what was below."""
    upper = Left(lab, load(images), SCRIPT).upper

    image = images.commit("lab/base:1", Written(upper=upper, created_by="sh -c make"), "lab/made:1")

    with mounted(image) as root:
        seen = {place: files(root / place) for place in ("etc", "srv", "whole", "data")}
        assert seen["etc"].pop("kept") == "base"
        assert "gone" not in seen["etc"]
        assert (seen["srv"], seen["whole"]) == ({"new": "new"}, {})
        assert seen["data"] == {"one": "mine", "two": "mine", "way": "mine"}
        one, srv = os.stat(root / "data/one"), os.stat(root / "srv")
        assert (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode), one.st_nlink) == (33, 44, 0o4755, 2)
        assert (srv.st_uid, stat.S_IMODE(srv.st_mode)) == (0, 0o755)
        assert os.readlink(root / "data/way") == "one"
        assert os.stat(root / "etc/kept").st_uid == 5
    (again,) = Images(tmp_path / "other/images").load(Joined(images.save(["lab/made:1"])))
    assert again.id == image.id


def test_its_history_and_configuration_are_a_step_longer(images: Images, tmp_path: Path) -> None:
    base = load(images, Env=["A=1"], WorkingDir="/srv")
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/file").touch()
    written = Written(
        upper=tmp_path / "upper", changes={"Cmd": ["/bin/new"]}, author="anna", comment="a word", created_by="touch"
    )

    image = images.commit(base.id, written)

    assert image.names == ()
    assert image.config.cmd == ("/bin/new",)
    assert image.config.env == (("A", "1"),)
    assert image.config.working_dir == "/srv"
    config = images.details(image.id).config
    before = json.loads(config_of([BASE]))
    assert config["author"] == "anna"
    assert len(config["rootfs"]["diff_ids"]) == 2
    assert config["history"][:-1] == before["history"]
    step = config["history"][-1]
    assert (step["created_by"], step["author"], step["comment"]) == ("touch", "anna", "a word")
    assert "empty_layer" not in step
    (tmp_path / "upper/file").unlink()
    empty = images.commit(image.id, Written(upper=tmp_path / "upper"))
    assert empty.layers == image.layers
    assert images.details(empty.id).config["history"][-1]["empty_layer"]


def test_layers_below_are_shared_and_kept(images: Images, tmp_path: Path) -> None:
    load(images)
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/file").write_text("x")
    made = images.commit("lab/base:1", Written(upper=tmp_path / "upper"), "lab/made:1")

    images.remove("lab/base:1")

    with mounted(images.resolve("lab/made:1")) as root:
        assert (root / "etc/kept").read_text() == "base"
    assert images.remove(made.id).deleted
    images.drain()
    assert images.layers.list() == []
    assert images.blobs.list() == []


def test_owners_of_a_layer_that_could_not_be_mapped_are_mapped_back(images: Images, tmp_path: Path) -> None:
    """As a file system without mapped mounts leaves them: the layer is the container's root's, and what is in it."""
    load(images)
    upper = tmp_path / "upper"
    upper.mkdir()
    for name, owner in (("root", 100_000), ("web", 100_033), ("host", 12)):
        (upper / name).touch()
        os.chown(upper / name, owner, owner)
    os.chown(upper, 100_000, 100_000)

    image = images.commit("lab/base:1", Written(upper=upper, id_base=100_000))

    with mounted(image) as root:
        assert [os.stat(root / name).st_uid for name in ("root", "web", "host")] == [0, 33, 12]


def test_a_container_of_a_directory_becomes_an_image_of_one_layer(images: Images, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("kept", "gone"):
        (tmp_path / "tree" / name).write_text(name)
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/new").write_text("new")
    os.mknod(tmp_path / "upper/gone", stat.S_IFCHR, os.makedev(0, 0))

    image = images.commit(str(tmp_path / "tree"), Written(upper=tmp_path / "upper"), "lab/tree:1")

    with mounted(image) as root:
        assert files(root) == {"kept": "kept", "new": "new"}
    assert images.save(["lab/tree:1"])


def test_the_machine_itself_is_no_image(images: Images, tmp_path: Path) -> None:
    with pytest.raises(CannotCommit, match="no image to build on"):
        images.commit("host", Written(upper=tmp_path))


def test_what_overlay_only_refers_to_is_refused(images: Images, tmp_path: Path) -> None:
    load(images)
    (tmp_path / "upper/moved").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/moved", "trusted.overlay.redirect", b"/old")

    with pytest.raises(UnpackFailed, match="only a reference"):
        images.commit("lab/base:1", Written(upper=tmp_path / "upper"), "lab/made:1")

    assert [image.names for image in images.list()[1:]] == [("lab/base:1",)]
    assert len(images.blobs.list()) == 2
