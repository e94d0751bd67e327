"""Which host ids a container's processes have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Invalid
from netmodel.model import MountConfig
from tests.netmodel.engine.conftest import Run, execute, output_of

pytestmark = pytest.mark.kernel


def test_root_is_nobody_and_ranges_are_apart(engine: Engine, run: Run) -> None:
    owners = [os.stat(f"/proc/{run(name).state.pid}").st_uid for name in ("one", "two")]

    assert all(owner >= 65536 for owner in owners)
    assert abs(owners[0] - owners[1]) >= 65536


def test_kept_id_is_the_hosts_and_no_other_is(engine: Engine, run: Run, tmp_path: Path) -> None:
    mount = MountConfig(type="bind", target="/shared", source=str(tmp_path))
    container = run("web", userns_mode="keep-id:uid=1234,gid=2345", user="1234:2345", mounts=(mount,))
    tmp_path.chmod(0o777)

    assert _ids(container.state.pid) == (1234, 2345)
    assert output_of(engine, "web", "cat", "/proc/self/uid_map").split()[:3] == ["0", str(container.idmap_base), "1234"]
    code, printed = execute(engine, "web", "touch", "/shared/mine")
    assert code == 0, printed
    status = (tmp_path / "mine").stat()
    assert (status.st_uid, status.st_gid) == (1234, 2345)
    code, printed = execute(engine, "web", "sh", "-c", "id -u; touch /etc/file; stat -c %u /etc/file", user="0")
    assert printed.split() == ["0", "0"]


def _ids(pid: int) -> tuple[int, int]:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return int(lines["Uid"].split()[0]), int(lines["Gid"].split()[0])


def test_who_shares_the_network_keeps_the_same_id(engine: Engine, run: Run) -> None:
    run("owner", userns_mode="keep-id:uid=1234,gid=2345")
    sharer = run("sharer", network_mode="container:owner", user="1234:2345")

    assert _ids(sharer.state.pid) == (1234, 2345)


@pytest.mark.parametrize(
    "mode", ["private", "keep-id", "keep-id:uid=0,gid=1", "keep-id:uid=1,gid=70000", "keep-id:uid=1"]
)
def test_modes_that_are_none_are_refused(engine: Engine, run: Run, mode: str) -> None:
    with pytest.raises(Invalid):
        run("web", userns_mode=mode)
