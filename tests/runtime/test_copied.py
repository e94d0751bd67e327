"""Layers on a file system that cannot map ids: ramfs here, tmpfs too on kernels before Linux 6.3."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.spec import ContainerSpec
from tests.runtime.lab import Lab, shell

pytestmark = [pytest.mark.kernel, pytest.mark.whole_kernel]


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Path]:
    """With a directory of the image's, so that its owner counts there."""
    place = tmp_path / "layer"
    place.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", place], check=True)
    place.chmod(0o755)
    (place / "etc").mkdir()
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def above(layer: Path, lab: Lab, script: str) -> ContainerSpec:
    """A container of the layer above the machine's root."""
    spec = lab.spec(shell(script))
    spec = replace(spec, rootfs=replace(spec.rootfs, layers=(str(layer), *spec.rootfs.layers)))
    lab.spawner.create(spec)
    lab.spawner.start(spec.id)
    lab.ended(spec)
    return spec


def test_a_small_one_belongs_to_whom_it_should_in_each_container(lab: Lab, layer: Path) -> None:
    (layer / "etc/secret").write_text("for root\n")
    (layer / "etc/secret").chmod(0o600)
    (layer / "etc/others").write_text("")
    os.chown(layer / "etc/others", 33, 44)
    (layer / "etc/others").chmod(0o4751)
    (layer / "etc/link").symlink_to("secret")
    os.mknod(layer / "etc/debian_version", 0o20000, 0)  # a whiteout
    script = "cat /etc/link; stat -c '%u %g %a' /etc/others /etc; ls /etc/debian_version 2>&1 || touch /etc/made"

    for _ in range(2):
        spec = above(layer, lab, script)
        printed = lab.output(spec).splitlines()
        assert printed[:3] == ["for root", "33 44 4751", "0 0 755"]
        assert "No such file" in printed[3]
        assert Path(spec.rootfs.upper, "etc/made").exists()
    assert (layer / "etc/others").stat().st_uid == 33


def test_a_large_one_is_used_as_it_is_and_a_warning_says_so(lab: Lab, layer: Path) -> None:
    warned: list[str] = []
    lab.spawner.on_warning = lambda _id, warnings: warned.extend(warnings)
    for number in range(300):
        (layer / "etc" / str(number)).touch()

    spec = above(layer, lab, "stat -c %U /etc/299")

    assert lab.output(spec) == "nobody\n"
    assert warned == [f"the file system of {layer} cannot map ids: its files keep the host's owners"]
