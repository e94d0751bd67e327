"""Bind mounts, tmpfs, propagation, and links that try to lead out of the container."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import InvalidSpec, RuntimeFault
from runtime.spec import BindMount, TmpfsMount
from tests.runtime.lab import Lab, process, shell
from tests.runtime.shared import host, lab

__all__ = ["host", "lab"]

pytestmark = pytest.mark.kernel


def test_a_bind_maps_ids_both_ways(lab: Lab, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "old").write_text("old\n")
    os.chown(source / "old", 33, 44)

    text = lab.run(
        "stat -c '%u:%g' /data/old; echo new > /data/new; chown 5:6 /data/new",
        mounts=(BindMount(source=str(source), target="/data"),),
    )

    assert text == "33:44\n"
    status = (source / "new").stat()
    assert (status.st_uid, status.st_gid) == (5, 6)


def test_a_read_only_bind_with_a_mount_below_it(lab: Lab, tmp_path: Path) -> None:
    text = lab.run(
        "touch /data/x 2>&1 || true; cat /data/file",
        mounts=(
            BindMount(source=str(tmp_path), target="/data", read_only=True),
            BindMount(source="/etc/hostname", target="/data/file"),
        ),
    ) if (tmp_path / "file").write_text("") == 0 else ""  # fmt: skip

    assert text.splitlines() == [
        "touch: cannot touch '/data/x': Read-only file system",
        Path("/etc/hostname").read_text().strip(),
    ]


def test_targets_are_made_and_deeper_ones_come_later(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("inner\n")
    text = lab.run(
        "cat /a/b/c/file; df --output=fstype /a/b | tail -1",
        mounts=(BindMount(source=str(file), target="/a/b/c/file"), TmpfsMount(target="/a/b")),
    )

    assert text == "inner\ntmpfs\n"


def test_files_of_the_engine_give_way_to_the_user_s(lab: Lab, tmp_path: Path) -> None:
    engine, user = tmp_path / "engine", tmp_path / "user"
    engine.write_text("engine\n")
    user.write_text("user\n")

    text = lab.run(
        "cat /etc/hosts /etc/resolv.conf",
        mounts=(BindMount(source=str(user), target="/etc/hosts"),),
        files=tuple(BindMount(source=str(engine), target=f"/etc/{name}") for name in ("hosts", "resolv.conf")),
    )

    assert text == "user\nengine\n"


def test_a_read_only_bind_is_so_with_all_below_it(lab: Lab, tmp_path: Path) -> None:
    with shared_mount(tmp_path / "below"):
        data = BindMount(source=str(tmp_path), target="/data", read_only=True)
        text = lab.run("touch /data/below/x 2>&1 || true", mounts=(data,))

    assert text == "touch: cannot touch '/data/below/x': Read-only file system\n"


def test_a_tmpfs(lab: Lab) -> None:
    text = lab.run(
        "df -B1 --output=size /t | tail -1; stat -c %a /t; cp /bin/true /t/true; /t/true || echo noexec",
        mounts=(TmpfsMount(target="/t", size_bytes=1 << 20, mode=0o750, options=("noexec", "nosuid")),),
    )

    assert [line.strip() for line in text.splitlines()[:2]] == [str(1 << 20), "750"]
    assert text.endswith("noexec\n")


def test_a_link_in_the_image_cannot_lead_a_mount_out(lab: Lab, tmp_path: Path) -> None:
    """Resolved as the container sees it: below its root, whatever the link says."""
    outside = tmp_path / "outside"
    outside.mkdir()
    spec = lab.spec(shell("cat /trap/file"), mounts=(BindMount(source="/etc/hostname", target="/trap/file"),))
    Path(spec.rootfs.upper, "trap").symlink_to(f"../../../../../../..{outside}")

    lab.spawner.create(spec)
    lab.spawner.start(spec.id)

    lab.ended(spec)
    assert lab.output(spec) == Path("/etc/hostname").read_text()
    assert list(outside.iterdir()) == []


def test_a_file_system_that_cannot_map_ids_is_mounted_with_a_warning(lab: Lab) -> None:
    warned: list[str] = []
    lab.spawner.on_warning = lambda _id, warnings: warned.extend(warnings)

    text = lab.run(
        "cat /host-version; stat -c %U /host-version",
        mounts=(BindMount(source="/proc/version", target="/host-version"),),
    )

    assert text == f"{Path('/proc/version').read_text()}nobody\n"
    assert warned == ["the file system of /proc/version cannot map ids: its files keep the host's owners"]


def test_mounts_reach_the_container_only_when_asked(lab: Lab, tmp_path: Path) -> None:
    with shared_mount(tmp_path / "shared") as shared:
        private = lab.sleeper(mounts=(BindMount(source=str(shared), target="/m"),))
        slave = lab.sleeper(mounts=(BindMount(source=str(shared), target="/m", propagation="rslave"),))
        (shared / "sub").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "sub"], check=True)
        (shared / "sub" / "file").touch()

        assert lab.exec(private, "ls /m/sub")[1] == ""
        assert lab.exec(slave, "ls /m/sub")[1] == "file\n"


def test_a_mount_in_the_container_reaches_the_host_through_a_shared_bind(lab: Lab, tmp_path: Path) -> None:
    with shared_mount(tmp_path / "shared") as shared:
        (shared / "sub").mkdir()
        spec = lab.start(
            shell(
                "mount -t tmpfs none /m/sub; touch /m/sub/file; exec sleep infinity", capabilities=("CAP_SYS_ADMIN",)
            ),
            mounts=(BindMount(source=str(shared), target="/m", propagation="rshared"),),
        )

        code, _, complaint = lab.exec(spec, "test -e /m/sub/file || sleep 0.3; test -e /m/sub/file")
        assert code == 0, complaint + lab.output(spec)
        assert [entry.name for entry in (shared / "sub").iterdir()] == ["file"]


def test_propagation_from_a_private_mount_is_refused(lab: Lab, tmp_path: Path) -> None:
    with shared_mount(tmp_path / "private", "private") as private:
        fault = lab.fails(process("true"), mounts=(BindMount(source=str(private), target="/m", propagation="rshared"),))

    assert "is not a shared mount" in str(fault)
    assert "make-shared" in fault.hint


def test_a_missing_source_is_named(lab: Lab) -> None:
    spec = lab.spec(process("true"), mounts=(BindMount(source="/no/such/source", target="/m"),))

    with pytest.raises(RuntimeFault, match=r"^mount source /no/such/source does not exist$") as caught:
        lab.spawner.create(spec)

    assert caught.value.kind == InvalidSpec("", kind="not_found").kind
    assert lab.spawner.status() == []
    assert lab.spawner.pins() == []


def test_a_directory_on_a_file_is_refused(lab: Lab, tmp_path: Path) -> None:
    fault = lab.fails(process("true"), mounts=(BindMount(source=str(tmp_path), target="/etc/passwd"),))

    assert str(fault).startswith("cannot mount on /etc/passwd, which is a file in the container")


def test_a_missing_layer_is_named(lab: Lab) -> None:
    spec = lab.spec(process("true"))
    spec = replace(spec, rootfs=replace(spec.rootfs, layers=("/no/such/layer",)))
    lab.spawner.create(spec)

    with pytest.raises(RuntimeFault, match="/no/such/layer"):
        lab.spawner.start(spec.id)


class shared_mount:  # noqa: N801 - reads as the function it is used as
    """A tmpfs of the test's own with a propagation, taken away again with what is on it."""

    def __init__(self, path: Path, propagation: str = "shared") -> None:
        self._path, self._propagation = path, propagation

    def __enter__(self) -> Path:
        self._path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", self._path], check=True)
        subprocess.run(["mount", f"--make-{self._propagation}", self._path], check=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-R", "-l", self._path], check=True)
