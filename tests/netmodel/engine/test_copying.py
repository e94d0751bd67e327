"""Files in and out of containers; and that no link in a container leads out of it."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.errors import Forbidden, Invalid, NetmodelError
from netmodel.model import ContainerConfig, MountConfig
from tests.netmodel.engine.conftest import SLEEP, Run, output_of
from tests.netmodel.engine.shared import engine, host
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


@pytest.fixture(params=["running", "stopped"])
def box(request: pytest.FixtureRequest, engine: Engine, run: Run) -> str:
    """A container that has written some files."""
    links = "ln -s sub /data/link; ln -s /etc /data/out"
    script = f"mkdir -p /data/sub; echo hello > /data/sub/a; {links}; touch /data/done; exec sleep infinity"
    run("box", command=("sh", "-c", script))
    eventually(lambda: found(engine, "/data/done"))
    if request.param == "stopped":
        engine.stop("box", 0)
    return str(request.param)


def found(engine: Engine, path: str) -> bool:
    try:
        engine.stat_path("box", path)
    except NetmodelError as error:
        return error.kind != "not_found"
    return True


def out(engine: Engine, path: str, name: str = "box") -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(b"".join(engine.copy_out(name, path))))


def made(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def file(name: str, content: bytes = b"new\n", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def put(engine: Engine, path: str, data: bytes, **how: bool) -> None:
    with _reading(data) as source:
        engine.copy_in("box", path, source, **how)


@contextmanager
def _reading(data: bytes) -> Iterator[int]:
    read, write = os.pipe()

    def feed() -> None:
        try:
            with os.fdopen(write, "wb") as sink:
                sink.write(data)
        except BrokenPipeError:
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield read
    finally:
        os.close(read)
        feeder.join()


def test_a_tree_comes_out_with_the_containers_owners(engine: Engine, box: str) -> None:
    tar = out(engine, "/data")

    assert sorted(tar.getnames()) == ["data", "data/done", "data/link", "data/out", "data/sub", "data/sub/a"]
    member = tar.getmember("data/sub/a")
    assert (member.uid, member.gid) == (0, 0)
    content = tar.extractfile(member)
    assert content is not None
    assert content.read() == b"hello\n"
    assert tar.getmember("data/link").issym()


def test_what_is_in_a_directory(engine: Engine, box: str) -> None:
    assert sorted(out(engine, "/data/sub/.").getnames()) == [".", "./a"]


def test_links_on_the_way_are_followed_in_the_container(engine: Engine, box: str) -> None:
    assert out(engine, "/data/link/a").getnames() == ["a"]
    link = engine.stat_path("box", "/data/link")
    assert stat.S_ISLNK(link.mode)
    assert link.link == "/data/sub"


def test_a_file_goes_in_and_is_roots(engine: Engine, box: str) -> None:
    put(engine, "/data/sub", made(file("b", uid=1234, mode=0o640), file("a", b"changed\n")))

    tar = out(engine, "/data/sub")
    assert (tar.getmember("sub/b").uid, tar.getmember("sub/b").mode) == (0, 0o640)
    assert tar.getmember("sub/a").size == len(b"changed\n")
    put(engine, "/data/sub", made(file("c", uid=1234)), keep_owners=True)
    assert out(engine, "/data/sub/c").getmember("c").uid == 1234
    if box == "stopped":
        engine.start("box")
    assert output_of(engine, "box", "stat", "-c", "%u %a", "/data/sub/b") == "0 640\n"


@pytest.mark.parametrize("name", ["../../../../tmp/escaped", "/tmp/escaped", "out/../../tmp/escaped"])
def test_no_name_leads_out(engine: Engine, box: str, name: str, tmp_path: Path) -> None:
    """Of the host, that is: in the container they may go where they like."""
    put(engine, "/data/sub", made(file("here")))
    with suppress(NetmodelError):
        put(engine, "/data/sub", made(file(name)))

    assert not Path("/tmp/escaped").exists()


def test_no_link_leads_out(engine: Engine, run: Run, tmp_path: Path) -> None:
    """Links to places of the host, and through /proc, end in the container."""
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    run("box", command=("sh", "-c", f"ln -s {secret} /leak; ln -s /proc/1/root{secret} /leak2; exec sleep infinity"))
    eventually(lambda: found(engine, "/leak2"))
    for path in ("/leak/", "/leak2/", f"/proc/1/root{secret}", f"/proc/self/root{secret}"):
        with pytest.raises(NetmodelError):
            list(engine.copy_out("box", path))
    member = _link("evil", str(tmp_path))
    with pytest.raises(NetmodelError):
        put(engine, "/", made((member, b""), file("evil/owned")))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["secret"]


def _link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_volumes_are_seen_whether_it_runs_or_not(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    mounts = (
        MountConfig(type="volume", source="data", target="/vol"),
        MountConfig(type="bind", source=str(tmp_path / "shared"), target="/shared", read_only=True),
    )
    config = ContainerConfig(image="host", command=SLEEP, network_mode="none", mounts=mounts, read_only=True)
    engine.create_container(config, "box")

    put(engine, "/vol", made(file("kept")))

    assert (engine.volume_path("data") / "kept").read_text() == "new\n"
    with pytest.raises(Forbidden, match="read-only"):
        put(engine, "/etc", made(file("x")))
    with pytest.raises(NetmodelError, match="read-only"):
        put(engine, "/shared", made(file("x")))
    engine.start("box")
    assert output_of(engine, "box", "cat", "/vol/kept") == "new\n"


def test_a_whole_running_container_without_what_the_kernel_shows(engine: Engine, run: Run, tmp_path: Path) -> None:
    """/proc and /sys change while they are read, and are this machine's; one that is asked for comes."""
    (tmp_path / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "rootfs" / "bin" / "busybox")
    (tmp_path / "rootfs" / "bin" / "again").hardlink_to(tmp_path / "rootfs" / "bin" / "busybox")
    run("box", image=str(tmp_path / "rootfs"), command=("/bin/busybox", "sleep", "1000"))

    tar = out(engine, "/")

    names = {name.lstrip("/") for name in tar.getnames()}
    assert {"bin/busybox", "proc", "sys", "etc/hosts", "dev/null"} <= names
    assert not {name for name in names if name.startswith(("proc/", "sys/", "dev/pts/"))}
    assert sum(member.islnk() for member in tar.getmembers()) == 1
    assert out(engine, "/proc/sys/kernel/ostype").getnames() == ["ostype"]
    # Nor are the places of what the engine mounts anything that the container has changed.
    assert [one.path for one in engine.changes("box")] == []
    output_of(engine, "box", "/bin/busybox", "touch", "/etc/own")
    assert [(one.kind, one.path) for one in engine.changes("box")] == [("added", "/etc"), ("added", "/etc/own")]


def test_mistakes_are_told(engine: Engine, box: str) -> None:
    with pytest.raises(NetmodelError, match="/nowhere: No such file"):
        list(engine.copy_out("box", "/nowhere"))
    with pytest.raises(NetmodelError, match="not a directory"):
        put(engine, "/data/sub/a", made(file("x")))
    for path in ("/data/sub/a/", "/data/sub/a/."):
        with pytest.raises(NetmodelError, match="Not a directory"):
            list(engine.copy_out("box", path))
        with pytest.raises(NetmodelError, match="Not a directory"):
            engine.stat_path("box", path)
    with pytest.raises(NetmodelError, match="tar stream"):
        put(engine, "/data", b"this is no tar" * 100)
    with pytest.raises(NetmodelError, match="sub is a directory"):
        put(engine, "/data", made(file("sub")), replace_kinds=False)


def test_changes_are_told(engine: Engine, run: Run) -> None:
    run("box", command=("sh", "-c", "rm /usr/bin/od; echo x > /etc/new; touch /etc/done; exec sleep infinity"))
    eventually(lambda: found(engine, "/etc/done"))

    changes = {one.path: one.kind for one in engine.changes("box")}

    assert changes["/etc"] == "changed"
    assert changes["/etc/new"] == "added"
    assert changes["/usr/bin/od"] == "deleted"


def test_its_processes_are_told(engine: Engine, run: Run) -> None:
    box = run("box", command=("sh", "-c", "sleep 1000 & exec sleep infinity"))

    eventually(lambda: {row[-1] for row in engine.top("box").rows} == {"sleep 1000", "sleep infinity"})
    top = engine.top("box")

    assert top.titles[:3] == ("UID", "PID", "PPID")
    assert top.rows[0][:2] == ("root", str(box.state.pid))
    custom = engine.top("box", "-eo pid,comm")
    assert custom.titles == ("PID", "COMMAND")
    assert {row[1] for row in custom.rows} == {"sleep"}
    with pytest.raises(Invalid):
        engine.top("box", "-eo comm")
