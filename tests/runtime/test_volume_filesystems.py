"""Volumes of the user's file systems: mounted for the first user, unmounted after the last, and why if not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runtime.images import Image
from runtime.kernel import mount
from runtime.volumes import InvalidVolumeOption, Volumes, VolumeUnusable
from runtime.volumes.options import Options
from runtime.volumes.remote import NoAddress, with_server
from tests.runtime.test_volumes import image_of
from tests.support.disk import disk, is_free
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[Volumes]:
    found = Volumes(tmp_path / "volumes")
    yield found
    for name in found.list():
        found.remove(name)
    found.drain()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    with disk(tmp_path, "ext4") as found:
        yield found


def options_of(data: Path) -> str:
    """How something is mounted, in the kernel's words."""
    [line] = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {data} " in line]
    before, _, after = line.partition(" - ")
    return f"{before.split()[5]} {after}"


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_it_is_mounted_as_long_as_somebody_has_it(volumes: Volumes, tmp_path: Path, kind: str) -> None:
    with disk(tmp_path, kind) as device:
        volumes.create("data", {"type": kind, "device": device})
        assert is_free(device)

        data = Path(volumes.mount("data", "a", "/x").source)
        (data / "file").touch()
        volumes.mount("data", "a", "/twice")
        volumes.mount("data", "b", "/y")
        volumes.unmount("data", "a")
        volumes.unmount("data", "nobody")
        assert (data / "file").exists()
        assert f" - {kind} {device} " in Path("/proc/self/mountinfo").read_text()
        volumes.unmount("data", "b")
        eventually(lambda: is_free(device))  # a container on its way into its own namespace may have a copy
        assert os.listdir(data) == []

        volumes.mount("data", "c", "/x")
        assert (data / "file").exists()
        volumes.remove("data")
        volumes.create("data", {"type": kind, "device": device})
        volumes.mount("data", "c", "/x")
        assert (data / "file").exists()
        volumes.unmount("data", "c")


def test_flags_are_the_kernel_s_and_the_rest_is_the_file_system_s(volumes: Volumes, device: str) -> None:
    words = "rw,nosuid,nodev,noexec,noatime,sync,exec,commit=7,nouid32,defaults"
    volumes.create("data", {"type": "ext4", "device": device, "o": words})
    volumes.create("locked", {"type": "ext4", "device": device, "o": "ro,noload"})

    told = options_of(Path(volumes.mount("data", "c", "/x").source))
    assert "rw,nosuid,nodev,noatime " in told
    assert f"ext4 {device} rw,sync,nouid32,commit=7" in told
    volumes.unmount("data", "c")

    bind = volumes.mount("locked", "c", "/x")
    assert bind.read_only
    assert options_of(Path(bind.source)).startswith(f"ro,relatime ext4 {device} ro,")
    volumes.unmount("locked", "c")


def test_an_empty_one_gets_what_the_image_has(volumes: Volumes, tmp_path: Path) -> None:
    """And nobody has it afterwards. An ext4 has lost+found, so it is not empty, as in Docker."""
    (tmp_path / "layer/srv").mkdir(parents=True)
    (tmp_path / "layer/srv/file").touch()
    image: Image = image_of(tmp_path / "layer")
    with disk(tmp_path, "xfs") as xfs, disk(tmp_path, "ext4") as ext4:
        for name, device in (("xfs", xfs), ("ext4", ext4)):
            volumes.create(name, {"type": name, "device": device})
            assert volumes.populate(name, image, "/srv") == (name == "xfs")
            eventually(partial(is_free, device))
        assert os.listdir(volumes.mount("xfs", "c", "/srv").source) == ["file"]
        assert volumes.usage("xfs") == 0  # nothing that would come free with the volume
        volumes.unmount("xfs", "c")


def test_the_next_process_goes_on(volumes: Volumes, tmp_path: Path) -> None:
    """What somebody has stays mounted, and nothing else."""
    with disk(tmp_path, "ext4") as kept, disk(tmp_path, "xfs") as left:
        for name, device in (("ext4", kept), ("xfs", left)):
            volumes.create(name, {"type": name, "device": device})
            volumes.mount(name, "c", "/x")

        following = Volumes(tmp_path / "volumes")
        following.adopt("ext4", "c")
        following.settle()

        eventually(lambda: is_free(left))
        assert not is_free(kept)
        following.unmount("ext4", "c")
        eventually(lambda: is_free(kept))


# --- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why", "hint"),
    [
        ({"device": "/dev/no"}, "cannot mount ext4 from /dev/no: no such file or directory", "is /dev/no there?"),
        ({"type": "xfs"}, "cannot mount xfs from DEVICE: ", "is there a file system xfs on DEVICE?"),
        ({"device": "FILE"}, "cannot mount ext4 from FILE: block device required", "losetup --find --show FILE"),
        ({"o": "loud"}, "ext4: Unknown parameter 'loud'", ""),
        ({"o": "commit=never"}, "with commit=never: ext4: Bad value for 'commit'", ""),
        ({"o": "password=hunter2"}, "with password=***: ext4: Unknown parameter 'password'", ""),
    ],
)  # fmt: skip
def test_why_it_is_not_mounted(
    volumes: Volumes, device: str, tmp_path: Path, change: dict[str, str], why: str, hint: str
) -> None:
    (tmp_path / "file").touch()
    names = {"FILE": str(tmp_path / "file"), "DEVICE": device}
    options = {key: names.get(value, value) for key, value in ({"type": "ext4", "device": device} | change).items()}
    volumes.create("data", options)

    with pytest.raises(VolumeUnusable) as refused:
        volumes.mount("data", "c", "/x")

    for name, path in names.items():
        why, hint = why.replace(name, path), hint.replace(name, path)
    assert str(refused.value).startswith("volume data cannot be used: cannot mount ")
    assert why in str(refused.value)
    assert hint in refused.value.hint
    assert os.listdir(volumes.path("data")) == []


def test_a_file_system_that_the_kernel_has_not(volumes: Volumes) -> None:
    """Said when it is asked for, not when it is needed."""
    with pytest.raises(InvalidVolumeOption, match="type=nofs: this kernel has no such file system") as refused:
        volumes.create("data", {"type": "nofs", "device": "x"})
    assert refused.value.hint == "modprobe nofs"
    assert volumes.list() == ()


# --- servers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "device", "words", "address"),
    [
        ("nfs", ":/export", "addr=localhost,rw", "127.0.0.1"),
        ("nfs4", "localhost:/export", "", "127.0.0.1"),
        ("nfs", "10.0.0.1:/export", "addr=10.0.0.2", "10.0.0.2"),
        ("nfs", "[fd00::1]:/export", "", "fd00::1"),
        ("cifs", "//localhost/share", "username=a", "127.0.0.1"),
        ("cifs", "//10.0.0.1/share", "ip=localhost", "127.0.0.1"),
    ],
)
def test_a_server_s_name_becomes_an_address(kind: str, device: str, words: str, address: str) -> None:
    parsed = Options.parse({"type": kind, "device": device, "o": words})

    found = with_server(parsed)

    assert [value for key, value in found.values if key in ("addr", "ip")] == [address]
    version = {"nfs": ["3"], "nfs4": ["4"], "cifs": []}[kind]
    assert [value for key, value in found.values if key == "vers"] == version
    assert [pair for pair in found.values if pair[0] == "username"] == ([("username", "a")] if "user" in words else [])


def test_a_server_that_nobody_knows(volumes: Volumes) -> None:
    with pytest.raises(NoAddress, match=r"no address of nowhere\.invalid is known: "):
        with_server(Options.parse({"type": "nfs", "device": "nowhere.invalid:/export"}))


def test_a_kernel_without_nfs_says_so(volumes: Volumes) -> None:
    """One that has it says why it cannot be mounted: nobody answers there."""
    options = {"type": "nfs", "device": ":/export", "o": "addr=127.0.0.1,soft,timeo=1,retrans=0,vers=4"}
    if not mount.is_known("nfs"):
        with pytest.raises(InvalidVolumeOption, match="type=nfs: this kernel has no such file system"):
            volumes.create("data", options)
        return
    volumes.create("data", options)
    with pytest.raises(VolumeUnusable, match="cannot mount nfs from :/export: "):
        volumes.mount("data", "c", "/x")
