"""Which host ids a container's processes have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Conflict, Invalid
from netmodel.model import ContainerConfig, MountConfig
from netmodel.userns import check_userns
from tests.netmodel.engine.conftest import Run, execute, output_of
from tests.netmodel.engine.shared import engine, host

__all__ = ["engine", "host"]

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


def test_as_many_ids_as_are_asked_for(engine: Engine, run: Run) -> None:
    container = run("web", userns_mode="auto:size=4096")

    assert output_of(engine, "web", "cat", "/proc/self/gid_map").split() == ["0", str(container.idmap_base), "4096"]
    assert execute(engine, "web", "chown", "4095", "/tmp")[0] == 0
    assert execute(engine, "web", "chown", "4096", "/tmp")[0] != 0


def test_a_container_with_root_alone(engine: Engine, run: Run) -> None:
    """Even the group of terminals is missing."""
    run("web", userns_mode="auto:size=1", tty=True)

    assert output_of(engine, "web", "cat", "/proc/self/uid_map").split()[2] == "1"


CHOSEN = "private:uidmap=0:1300000000:1000,uidmap=1000:1234:1,gidmap=0:1300000000:2000"


def test_ids_are_mapped_as_was_chosen(engine: Engine, run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    mount = MountConfig(type="bind", target="/shared", source=str(tmp_path))
    container = run("web", userns_mode=CHOSEN, user="1000:5", mounts=(mount,))

    assert container.idmap_base == 1300000000
    assert _ids(container.state.pid) == (1234, 1300000005)
    uid_map = [line.split() for line in output_of(engine, "web", "cat", "/proc/self/uid_map").splitlines()]
    assert uid_map == [["0", "1300000000", "1000"], ["1000", "1234", "1"]]
    assert execute(engine, "web", "touch", "/shared/mine")[0] == 0
    assert (tmp_path / "mine").stat().st_uid == 1000
    assert {row[0] for row in engine.top("web").rows} == {"1000"}
    engine.restart("web", 0)
    assert _ids(engine.container("web").state.pid) == (1234, 1300000005)


def test_nobody_gets_ids_that_others_have(engine: Engine, run: Run) -> None:
    free = run("free")
    run("web", userns_mode=CHOSEN)
    apart = "private:uidmap=0:1300002000:1000"

    for mode in (CHOSEN, "private:uidmap=0:1300001999:1", f"private:uidmap=0:{free.idmap_base}:1"):
        with pytest.raises(Conflict, match="are another container's"):
            run("other", userns_mode=mode)
    run("other", userns_mode=apart)
    engine.close()
    again = Engine(engine.root)
    again.open()
    try:
        assert not [warning for warning in again.info().warnings if "user ids" in warning]
        with pytest.raises(Conflict, match="are another container's"):
            again.create_container(ContainerConfig(image="host", userns_mode=CHOSEN))
        again.remove("web", force=True)
        again.remove(again.create_container(ContainerConfig(image="host", userns_mode=CHOSEN)).id)
    finally:
        again.close()
        engine.open()


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("nomap", "is not known"),
        ("keep-id", "is not known"),
        ("auto:size=0", "0 ids cannot be had"),
        ("auto:size=70000", "70000 ids cannot be had"),
        ("private:uid=0:1:1", "it says 'uid=0:1:1'"),
        ("private:uidmap=0", "'0' maps no ids"),
        ("private:uidmap=0:0:1", "the host's root"),
        ("private:uidmap=1:70000:1", "has no id 0"),
        ("private:uidmap=0:70000:10,uidmap=9:80000:1", "id 9 of the container is mapped twice"),
        ("private:uidmap=0:70000:10,uidmap=10:70009:1", "id 70009 of the host is mapped twice"),
        ("private:uidmap=0:70000:1,gidmap=0:70001:1", "user 0 is 70000 on the host, and group 0 is 70001"),
        ("private:uidmap=0:70000:4294967295", "ids that there are not"),
    ],
)
def test_maps_that_cannot_be(mode: str, sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence):
        check_userns(mode)


@pytest.mark.parametrize("mode", ["keep-id:uid=0,gid=1", "keep-id:uid=1,gid=70000", "keep-id:uid=1"])
def test_modes_that_are_none_are_refused(engine: Engine, run: Run, mode: str) -> None:
    with pytest.raises(Invalid):
        run("web", userns_mode=mode)
