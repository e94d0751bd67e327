"""The way to an overlay on kernels whose overlay takes no descriptors (before Linux 6.13), walked on this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.lab import Lab, shell
from tests.runtime.test_survival import mounts
from tests.support.box import Box

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
    (tmp_path / "spawner").mkdir()
    subprocess.run(
        [sys.executable, "-c", SPAWNER, str(tmp_path / "spawner"), str(ready)],
        pass_fds=(ready,),
        cwd=Path(__file__).parents[2],
        check=True,
    )
    os.close(ready)
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
