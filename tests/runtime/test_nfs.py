"""A volume on an NFS server: this kernel's own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runtime.volumes import Volumes, VolumeUnusable
from tests.runtime.lab import Lab
from tests.runtime.test_volume_filesystems import volumes
from tests.support.disk import disk, mounted
from tests.support.nfs import exported

__all__ = ["volumes"]

pytestmark = pytest.mark.kernel


def test_containers_share_what_a_server_has(volumes: Volumes, tmp_path: Path, lab: Lab) -> None:
    """By the server's name; owners are the server's, as the kernel maps none on NFS."""
    with disk(tmp_path, "ext4") as device, mounted(device, tmp_path / "export") as export:
        (export / "file").write_text("served")
        with exported(export):
            volumes.create(
                "shared", {"type": "nfs4", "device": "localhost:/", "o": "soft,noatime,timeo=50,nfsvers=4.2"}
            )
            mount = volumes.mount("shared", "a", "/mnt")
            assert " - nfs4 localhost:/ rw,vers=4.2," in Path("/proc/self/mountinfo").read_text()
            assert Path(mount.source, "file").read_text() == "served"  # once the server's first moments are over

            assert lab.run("cat /mnt/file; echo made > /mnt/made", mounts=(mount,), idmap=None) == "served"
            assert lab.run("stat -c %u /mnt/made", mounts=(mount,)) == "65534\n"

            assert (export / "made").read_text() == "made\n"
            volumes.unmount("shared", "a")
            assert os.listdir(volumes.path("shared")) == []


def test_a_server_that_does_not_answer(volumes: Volumes) -> None:
    words = "addr=127.0.0.1,vers=4.2,soft,timeo=5,retrans=1,port=9"
    volumes.create("shared", {"type": "nfs4", "device": ":/", "o": words})
    begin = time.monotonic()

    with pytest.raises(VolumeUnusable, match="cannot mount nfs4 from :/: connection refused") as refused:
        volumes.mount("shared", "a", "/mnt")

    assert "must be reached from this machine" in refused.value.hint
    assert time.monotonic() - begin < 30
