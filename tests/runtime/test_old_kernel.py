"""The way to an overlay on kernels whose overlay takes no descriptors (before Linux 6.13), walked on this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.spec import LayersMount, RootFs
from tests.runtime.lab import Lab, shell
from tests.runtime.test_survival import mounts
from tests.support.box import Box
from tests.support.disk import disk, mounted

BUSYBOX = Path("/bin/busybox")
pytestmark = pytest.mark.kernel

SPAWNER = """
from runtime.spawner import overlay
from runtime.spawner.__main__ import main
overlay._takes_descriptors = False
main()
"""


@pytest.fixture
def old(host: Box, tmp_path: Path) -> Iterator[Lab]:
    told, ready = os.pipe()
    spare = os.open(os.devnull, os.O_RDONLY)  # it closes one that stands for its interpreter
    (tmp_path / "spawner").mkdir()
    subprocess.run(
        [sys.executable, "-c", SPAWNER, str(tmp_path / "spawner"), str(ready), str(spare)],
        pass_fds=(ready, spare),
        cwd=Path(__file__).parents[2],
        check=True,
    )
    os.close(ready)
    os.close(spare)
    assert os.read(told, 100) == b"ok"
    os.close(told)
    lab = Lab(tmp_path)
    yield lab
    lab.close()


def test_the_root_is_the_same(old: Lab) -> None:
    before = mounts()
    for _ in range(2):
        spec = old.start(
            shell("stat -f -c %T /; stat -c %u /bin/sh; echo mine > /made; rm -r /etc/apt; mkdir /etc/apt")
        )
        assert old.ended(spec).exit_code == 0
        assert old.output(spec) == "overlayfs\n0\n"
        assert Path(spec.rootfs.upper, "made").stat().st_uid == 0

    assert mounts() == before
    assert os.readlink(f"/proc/{old.spawner.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")


def test_a_disk_that_was_mounted_meanwhile_can_be_let_go_of(old: Lab, tmp_path: Path) -> None:
    with disk(tmp_path, "ext4") as device, mounted(device, tmp_path / "mounted"):
        old.ended(old.start(shell("true")))

    assert not list(tmp_path.glob("*.img"))  # nobody had it any more


@pytest.mark.skipif(not BUSYBOX.exists(), reason="missing: busybox-static")
def test_an_image_may_have_many_layers(old: Lab, tmp_path: Path) -> None:
    """More than a mount option of these kernels has room for."""
    before = mounts()
    layers = [tmp_path / f"layers/{number}" for number in range(100)]
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / f"layer{number}").touch()
    (layers[0] / "bin").mkdir()
    shutil.copy(BUSYBOX, layers[0] / "bin/busybox")
    for name in ("sh", "ls", "wc", "stat", "echo"):
        (layers[0] / "bin" / name).symlink_to("busybox")
    place = tmp_path / "writable"
    for name in ("upper", "work"):
        (place / name).mkdir(parents=True)
    rootfs = RootFs(layers=tuple(map(str, layers)), upper=f"{place}/upper", work=f"{place}/work")

    spec = old.start(shell("ls -d /layer* | wc -l; stat -c %u /layer99; echo mine > /made"), rootfs=rootfs)

    assert old.ended(spec).exit_code == 0
    assert old.output(spec) == "100\n0\n"
    assert (place / "upper/made").exists()
    assert mounts() == before


def test_an_image_is_mounted_the_same(old: Lab, tmp_path: Path) -> None:
    layers = tuple(str(tmp_path / name) for name in ("above", "below"))
    for layer in layers:
        os.mkdir(layer)
        Path(layer, os.path.basename(layer)).write_text("x")

    text = old.run(
        "ls /img; touch /img/new 2>&1 || true; ls -d /part/*",
        mounts=(
            LayersMount(layers=layers, target="/img"),
            LayersMount(layers=layers, target="/part/one", subpath="above"),
        ),
    )

    assert text == "above\nbelow\ntouch: cannot touch '/img/new': Read-only file system\n/part/one\n"
