"""Archives by people who wish us well, and by people who do not."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.images import BadImage, TooLarge, UnpackFailed, UnsafeArchive
from runtime.images.archive import unpack
from runtime.kernel import mount
from tests.support.tars import Member, directory, hard_link, link, member, tar_of

Unpack = Callable[..., Path]


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpack:
    """Unpack members into a directory beside one that nobody may touch."""

    def run(*members: Member) -> Path:
        return into(tmp_path, members)

    return run


def into(place: Path, members: Iterable[Member]) -> Path:
    root = place / "root"
    root.mkdir(exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        unpack(tar_of(members), "test.tar", descriptor)  # type: ignore[arg-type]
    finally:
        os.close(descriptor)
    return root


# --- what is kept ----------------------------------------------------------------------------


def test_owners_modes_and_times_are_kept_as_numbers(unpacked: Unpack) -> None:
    root = unpacked(
        directory("./", mode=0o711, uid=3, gid=4),
        directory("srv", mode=0o2750, uid=1000, gid=2000, mtime=1_000_000_000),
        member("srv/tool", content=b"x", mode=0o4755, uid=70_000, gid=7, mtime=1_100_000_000.5),
        member("srv/link", tarfile.SYMTYPE, linkname="/etc/passwd", uid=5, gid=6, mtime=1_200_000_000),
    )

    def seen(path: str) -> tuple[int, int, int, float]:
        status = os.lstat(root / path)
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime

    assert seen(".")[:3] == (0o711, 3, 4)
    assert seen("srv") == (0o2750, 1000, 2000, 1_000_000_000)
    assert seen("srv/tool") == (0o4755, 70_000, 7, 1_100_000_000.5)
    assert seen("srv/link")[1:] == (5, 6, 1_200_000_000)
    assert os.readlink(root / "srv/link") == "/etc/passwd"


def test_hard_links_and_pipes_are_made(unpacked: Unpack) -> None:
    root = unpacked(
        member("a/one", content=b"same"), hard_link("b/two", "./a/one"), member("pipe", tarfile.FIFOTYPE, mode=0o600)
    )

    assert os.path.samefile(root / "a/one", root / "b/two")
    assert stat.S_ISFIFO(os.lstat(root / "pipe").st_mode)


def test_user_attributes_and_file_capabilities_are_kept_others_are_not(unpacked: Unpack) -> None:
    capability = b"\x01\x00\x00\x02" + b"\x00\x20\x00\x00" + bytes(12)
    root = unpacked(
        member(
            "ping",
            content=b"x",
            pax_headers={
                "SCHILY.xattr.user.note": "grüße",
                "SCHILY.xattr.security.capability": capability.decode("latin-1"),
                "SCHILY.xattr.trusted.overlay.redirect": "/etc",
            },
        )
    )

    assert os.getxattr(root / "ping", "user.note") == "grüße".encode()
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert sorted(os.listxattr(root / "ping")) == ["security.capability", "user.note"]


def test_device_nodes_are_left_out(unpacked: Unpack) -> None:
    root = unpacked(
        member("dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0),
        member("etc/hidden", tarfile.CHRTYPE, devmajor=0, devminor=0),  # overlay would take it for a whiteout
        member("etc/motd", content=b"x"),
    )

    assert os.listdir(root / "etc") == ["motd"]
    assert not (root / "dev").exists()


def test_later_members_replace_earlier_ones(unpacked: Unpack) -> None:
    root = unpacked(
        member("x", content=b"first"),
        member("x", content=b"second"),
        link("d", "x"),
        directory("d"),
        member("d/file", content=b"in a directory"),
        directory("empty"),
        member("empty", content=b"a file now"),
    )

    assert (root / "x").read_text() == "second"
    assert (root / "d/file").read_text() == "in a directory"
    assert (root / "empty").read_text() == "a file now"


def test_names_need_not_be_utf8(unpacked: Unpack) -> None:
    root = unpacked(member("caf\udce9", content=b"x"))

    assert os.listdir(os.fsencode(root)) == [b"caf\xe9"]


def test_sparse_files_have_their_zeros(unpacked: Unpack, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    subprocess.run(["tar", "-cSf", tmp_path / "s.tar", "-C", tmp_path, "sparse"], check=True)
    target = tmp_path / "root"
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    with open(tmp_path / "s.tar", "rb") as archive:
        unpack(archive, "s.tar", descriptor)
    os.close(descriptor)

    assert (target / "sparse").read_bytes() == bytes(1 << 20) + b"end"


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "a/..", ".."])
def test_climbing_is_refused(unpacked: Unpack, tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchive, match="climbs out"):
        unpacked(member(name, content=b"evil"))

    assert not (tmp_path / "escape").exists()


@pytest.mark.parametrize(
    "headers",
    [{"path": "../escape"}, {"path": "a/../../escape"}, {"linkpath": "../../escape"}, {"path": "way/escape"}],
    ids=["climbs", "climbs later", "link climbs", "behind a link"],
)
def test_what_an_extended_header_says_counts(unpacked: Unpack, tmp_path: Path, headers: dict[str, str]) -> None:
    """The plain name says something harmless, and whoever checks only that is taken in."""
    (tmp_path / "escape").write_text("untouched")
    honest = hard_link("honest", "first") if "linkpath" in headers else member("honest", content=b"evil")
    honest[0].pax_headers = headers

    with pytest.raises(UnsafeArchive):
        unpacked(member("first"), link("way", str(tmp_path)), honest)

    assert (tmp_path / "escape").read_text() == "untouched"
    assert (tmp_path / "escape").stat().st_nlink == 1


def test_an_extended_header_cannot_make_a_member_longer_than_the_archive(unpacked: Unpack) -> None:
    cut = member("short", content=b"x")
    cut[0].pax_headers = {"size": str(1 << 40)}

    with pytest.raises((BadImage, TooLarge)):
        unpacked(cut)


def test_an_absolute_name_lands_inside(unpacked: Unpack) -> None:
    assert (unpacked(member("/etc/motd", content=b"x")) / "etc/motd").read_text() == "x"


@pytest.mark.parametrize("target", ["/tmp", "..", "/", "elsewhere"])
def test_nothing_is_written_through_a_link(unpacked: Unpack, target: str) -> None:
    with pytest.raises(UnsafeArchive, match="behind a link"):
        unpacked(directory("elsewhere"), link("way", target), member("way/netmodel-escaped", content=b"evil"))

    assert not Path("/tmp/netmodel-escaped").exists()


def test_a_file_in_place_of_a_link_does_not_touch_its_target(unpacked: Unpack, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")

    root = unpacked(link("x", str(victim)), member("x", content=b"evil"))

    assert victim.read_text() == "untouched"
    assert (root / "x").read_text() == "evil"


@pytest.mark.parametrize("target", ["../victim", "/etc/passwd", "way/passwd", "missing", "etc"])
def test_a_hard_link_only_leads_to_files_inside(unpacked: Unpack, tmp_path: Path, target: str) -> None:
    (tmp_path / "victim").write_text("secret")

    with pytest.raises(UnsafeArchive):
        unpacked(directory("etc"), link("way", "/etc"), hard_link("loot", target))


def test_a_hard_link_to_a_link_is_the_link(unpacked: Unpack, tmp_path: Path) -> None:
    """Its target outside gets no second name."""
    victim = tmp_path / "victim"
    victim.write_text("secret")

    root = unpacked(link("way", str(victim)), hard_link("loot", "way"), member("loot", content=b"evil"))

    assert victim.stat().st_nlink == 1
    assert victim.read_text() == "secret"
    assert (root / "loot").read_text() == "evil"


def test_a_directory_with_files_is_not_replaced(unpacked: Unpack) -> None:
    with pytest.raises(UnsafeArchive, match="directory that has files"):
        unpacked(member("d/file"), member("d", content=b"x"))


def test_an_unknown_sort_of_member_is_refused(unpacked: Unpack) -> None:
    with pytest.raises(BadImage):
        unpacked(member("x", b"Z", content=b""), member("y", b"Z"))


@pytest.mark.kernel
def test_a_full_disk_is_one_clear_sentence(tmp_path: Path) -> None:
    memory = mount.new_filesystem("tmpfs", [("size", "64k")])
    try:
        with pytest.raises(UnpackFailed, match=os.strerror(errno.ENOSPC).lower()) as refusal:
            unpack(tar_of([member("big", content=bytes(1 << 20))]), "big.tar", memory)  # type: ignore[arg-type]
    finally:
        os.close(memory)

    assert "room" in refusal.value.hint


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
TARGETS = st.one_of(NAMES, st.sampled_from(["/", "../outside", "../outside/kept", "a", "b", "a/b"]))
MEMBERS = st.one_of(
    st.builds(member, NAMES, content=st.just(b"evil")),
    st.builds(directory, NAMES),
    st.builds(link, NAMES, TARGETS),
    st.builds(hard_link, NAMES, TARGETS),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MEMBERS, max_size=12))
def test_no_archive_whatever_reaches_outside(tmp_path_factory: pytest.TempPathFactory, members: list[Member]) -> None:
    place = tmp_path_factory.mktemp("case")
    outside = place / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    before = os.lstat(outside / "kept")

    with contextlib.suppress(UnsafeArchive, BadImage, UnpackFailed):
        into(place, members)

    assert sorted(os.listdir(place)) == ["outside", "root"]
    assert os.listdir(outside) == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    assert os.lstat(outside / "kept").st_nlink == before.st_nlink
