"""Volumes and containers' roots of a given size, on file systems that count by projects."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.kernel import quota
from runtime.kernel.path import opened
from runtime.rootfs import Layers
from runtime.spec import BindMount, RootFs
from runtime.volumes import Volumes
from tests.runtime.lab import Lab
from tests.runtime.test_volumes import image_of
from tests.support.disk import with_quotas

pytestmark = pytest.mark.kernel
MIB = 1 << 20
ID = "ab" * 32


@pytest.fixture(params=["ext4", "xfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with with_quotas(tmp_path, request.param) as found:
        yield found


@pytest.fixture
def volumes(place: Path) -> Iterator[Volumes]:
    found = Volumes(place / "volumes")
    yield found
    found.drain()


def fill(path: Path, mib: int) -> int:
    """How much of so much fits into a file; ext4 lets CAP_SYS_RESOURCE write on, so it is written without."""
    copy = ("dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={mib}", "conv=fsync")
    subprocess.run(["setpriv", "--bounding-set=-sys_resource", *copy], check=False, capture_output=True)
    return path.stat().st_size


def project_of(directory: Path) -> int:
    with opened(directory) as descriptor:
        return quota._attributes(descriptor)[3]


def limit_of(place: Path, project: int) -> int:
    answer = bytearray(quota._DISK_QUOTA.size)
    with opened(place) as descriptor:
        try:
            quota._quotactl(descriptor, quota._GET_QUOTA, project, answer)
        except OSError:
            return 0
    return int(quota._DISK_QUOTA.unpack(answer)[4]) * 512


def test_a_volume_grows_to_its_size_and_others_are_free(volumes: Volumes, place: Path) -> None:
    volumes.create("small", {"size": "2m"})
    volumes.create("other", {"size": "4MB"})
    volumes.create("free")
    assert project_of(volumes.path("small")) != project_of(volumes.path("other"))

    assert fill(volumes.path("small") / "file", 4) <= 2 * MIB
    assert fill(volumes.path("other") / "file", 3) == 3 * MIB
    assert fill(volumes.path("free") / "file", 3) == 3 * MIB
    seen = os.statvfs(volumes.path("small"))
    assert seen.f_blocks * seen.f_frsize == 2 * MIB  # what df in a container tells

    (volumes.path("small") / "file").unlink()
    assert fill(volumes.path("small") / "again", 1) == MIB


def test_it_stays_over_the_next_process_and_goes_with_the_volume(volumes: Volumes, place: Path) -> None:
    volumes.create("small", {"size": "2m"})
    project = project_of(volumes.path("small"))
    assert limit_of(place, project) == 2 * MIB

    following = Volumes(place / "volumes")
    assert fill(following.path("small") / "file", 4) <= 2 * MIB
    following.remove("small")
    following.drain()

    assert following.list() == ()
    assert limit_of(place, project) == 0


def test_one_that_was_half_made_leaves_no_limit(volumes: Volumes, place: Path) -> None:
    volumes.create("small", {"size": "2m"})
    project = project_of(volumes.path("small"))
    (place / "volumes/small").rename(place / "volumes/.0123456789abcdef")

    Volumes(place / "volumes").drain()

    assert limit_of(place, project) == 0


def test_the_image_s_content_fits_or_none_of_it_is_there(volumes: Volumes, place: Path, tmp_path: Path) -> None:
    data = tmp_path / "layer/srv"
    (data / "below").mkdir(parents=True)
    (data / "below/file").write_bytes(os.urandom(MIB))
    volumes.create("fits", {"size": "2m"})

    assert volumes.populate("fits", image_of(tmp_path / "layer"), "/srv")
    assert (volumes.path("fits") / "below/file").stat().st_size == MIB

    if place.name.startswith("ext4"):
        return  # it lets the engine pass
    (data / "big").write_bytes(os.urandom(2 * MIB))
    volumes.create("tight", {"size": "2m"})
    with pytest.raises(Exception, match="volume tight cannot be used: the image's content at /srv could not be copied"):
        volumes.populate("tight", image_of(tmp_path / "layer"), "/srv")
    assert os.listdir(volumes.path("tight")) == []


def test_a_container_in_its_own_limits(place: Path, lab: Lab, volumes: Volumes) -> None:
    """Its root and a volume each have their size, whatever it does to get more."""
    layers = Layers(place / "layers")
    upper, work = layers.create(ID, size_bytes=3 * MIB)
    volumes.create("small", {"size": "2m"})
    mount = volumes.mount("small", ID, "/mnt")
    assert isinstance(mount, BindMount)
    project = project_of(upper)
    script = f"""
df -k --output=size / /mnt | tail -2
head -c 8M /dev/urandom > /mnt/file 2> /dev/null || echo full
head -c 8M /dev/urandom > /root/file 2> /dev/null || echo full
rm /root/file /mnt/file
cp /etc/passwd /root/one && mv /root/one /etc/one && echo two >> /etc/passwd
python3 - << 'END' || /usr/bin/env python3 --version
import fcntl, os, struct
at = os.open("/mnt", os.O_RDONLY)
found = bytearray(fcntl.ioctl(at, {quota._GET_ATTRIBUTES}, bytes(28)))
struct.pack_into("=I", found, 12, 0)
try:
    fcntl.ioctl(at, {quota._SET_ATTRIBUTES}, bytes(found))
except OSError as error:
    print("kept")
END
"""
    said = lab.run(script, rootfs=RootFs(layers=("/",), upper=str(upper), work=str(work)), mounts=(mount,)).split()

    assert said == ["3072", "2048", "full", "full", "kept"]
    layers.delete(ID)
    layers.drain()
    assert limit_of(place, project) == 0


def test_a_layer_keeps_its_size_when_it_is_there(place: Path) -> None:
    layers = Layers(place / "layers")
    upper, _ = layers.create(ID, size_bytes=3 * MIB)
    project = project_of(upper)

    layers.create(ID, size_bytes=3 * MIB)

    assert project_of(upper) == project
    assert fill(upper / "file", 8) <= 3 * MIB
