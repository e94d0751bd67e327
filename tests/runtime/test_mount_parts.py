"""Parts of a bind's source, binds without what lies below, and the layers of an image as a mount."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import RuntimeFault
from runtime.spec import BindMount, LayersMount
from tests.runtime.lab import Lab, process, shell
from tests.runtime.shared import host, lab

__all__ = ["host", "lab"]

pytestmark = pytest.mark.kernel


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory as a container may have left it, links that lead out of it included."""
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/file").write_text("inside\n")
    os.chown(source / "deep/er/file", 33, 44)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("outside\n")
    (source / "absolute").symlink_to(tmp_path / "secret")
    (source / "climbing").symlink_to("../../../../../../../../../../etc")
    (source / "way").symlink_to("/deep/er")
    return source


@pytest.fixture
def layers(tmp_path: Path) -> tuple[str, str]:
    """An image of two layers; the upper one covers, adds and takes away."""
    below, above = tmp_path / "below", tmp_path / "above"
    for layer in (below, above):
        (layer / "app/bin").mkdir(parents=True)
    (below / "app/bin/tool").write_text("old\n")
    (below / "app/bin/gone").touch()
    (above / "app/bin/tool").write_text("new\n")
    os.chown(above / "app/bin/tool", 5, 6)
    os.mknod(above / "app/bin/gone", stat.S_IFCHR, os.makedev(0, 0))
    (above / "app/way").symlink_to("/app/bin")
    (above / "app/out").symlink_to("../../../../../../../../../../etc/passwd")
    return str(above), str(below)


def test_a_part_of_the_source(lab: Lab, source: Path) -> None:
    text = lab.run(
        "stat -c '%u:%g' /m/file; cat /m/file; echo more > /m/new; cat /file",
        mounts=(
            BindMount(source=str(source), target="/m", subpath="deep/er"),
            BindMount(source=str(source), target="/file", subpath="deep/er/file"),
        ),
    )

    assert text == "33:44\ninside\ninside\n"
    assert (source / "deep/er/new").read_text() == "more\n"


def test_links_in_the_source_are_followed_inside_it(lab: Lab, source: Path) -> None:
    assert lab.run("cat /m/file", mounts=(BindMount(source=str(source), target="/m", subpath="way"),)) == "inside\n"


@pytest.mark.parametrize("subpath", ["absolute", "climbing", "../secret", "missing"])
def test_no_part_lies_outside_the_source(lab: Lab, source: Path, subpath: str) -> None:
    spec = lab.spec(process("true"), mounts=(BindMount(source=str(source), target="/m", subpath=subpath),))

    with pytest.raises(RuntimeFault, match=f"there is no {subpath} in {source}: no such file") as caught:
        lab.spawner.create(spec)

    assert caught.value.kind == "not_found"
    assert lab.spawner.status() == []


@pytest.fixture
def below(source: Path) -> Iterator[Path]:
    """A tmpfs that is mounted in the source."""
    place = source / "deep"
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    (place / "mounted").touch()
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_bind_with_nothing_that_is_mounted_below(lab: Lab, source: Path, below: Path) -> None:
    text = lab.run(
        "ls /all/deep; ls /one/deep",
        mounts=(
            BindMount(source=str(source), target="/all"),
            BindMount(source=str(source), target="/one", recursive=False),
        ),
    )

    assert text == "mounted\ner\n"


def test_read_only_but_for_what_is_mounted_below(lab: Lab, source: Path, below: Path) -> None:
    text = lab.run(
        "touch /m/deep/new; touch /m/new 2>&1 || true",
        mounts=(BindMount(source=str(source), target="/m", read_only=True, deep_read_only=False),),
    )

    assert text == "touch: cannot touch '/m/new': Read-only file system\n"
    assert sorted(os.listdir(below)) == ["mounted", "new"]


def test_an_image_is_mounted_whole_and_read_only(lab: Lab, layers: tuple[str, str]) -> None:
    before = lab.descriptors()
    text = lab.run(
        "cat /img/app/bin/tool; stat -c '%u:%g' /img/app/bin/tool; ls /img/app/bin; touch /img/new 2>&1 || true",
        mounts=(LayersMount(layers=layers, target="/img"),),
    )

    assert text == "new\n5:6\ntool\ntouch: cannot touch '/img/new': Read-only file system\n"
    assert not os.path.exists(f"{layers[0]}/new")
    assert lab.descriptors().count("anon_inode") == before.count("anon_inode")


@pytest.mark.parametrize("count", [1, 2])
def test_a_part_of_an_image(lab: Lab, layers: tuple[str, str], count: int) -> None:
    """Nothing else of the image is to be found in the container."""
    text = lab.run(
        "cat /m/tool /tool; touch /m/new 2>&1 || true; grep -c ' /m \\| /tool ' /proc/self/mountinfo; ls /proc/self/fd",
        mounts=(
            LayersMount(layers=layers[:count], target="/m", subpath="app/way"),
            LayersMount(layers=layers[:count], target="/tool", subpath="app/bin/tool"),
        ),
    )

    assert text == "new\nnew\ntouch: cannot touch '/m/new': Read-only file system\n2\n0\n1\n2\n3\n"


def test_no_part_lies_outside_the_image(lab: Lab, layers: tuple[str, str]) -> None:
    (Path(layers[0]) / "etc").mkdir()
    fault = lab.fails(process("true"), mounts=(LayersMount(layers=layers, target="/m", subpath="app/out"),))

    assert str(fault) == "there is no app/out in what is to be mounted: no such file or directory"
    assert fault.kind == "not_found"


def test_a_layer_that_is_gone_is_named(lab: Lab, layers: tuple[str, str]) -> None:
    spec = lab.spec(shell("true"), mounts=(LayersMount(layers=(*layers, "/no/such"), target="/m"),))
    lab.spawner.create(spec)

    with pytest.raises(RuntimeFault, match="/no/such"):
        lab.spawner.start(spec.id)
