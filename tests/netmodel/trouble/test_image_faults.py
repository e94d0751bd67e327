"""Images while things go wrong: killed anywhere, on a full disk, on a root that cannot be written to."""

from __future__ import annotations

import random
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.images import Images
from tests.netmodel.engine.test_images import BASE, needs_busybox
from tests.netmodel.trouble.state import told
from tests.netmodel.trouble.test_disk import Cramped
from tests.support.box import Box
from tests.support.daemon import NETMODEL, Daemon, running
from tests.support.registry import Server, needs_registry, registry
from tests.support.tars import docker_archive, layer, member, oci_archive
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, needs_busybox]
LARGE = 12 << 20


def large(number: int) -> bytes:
    return layer(member(f"large{number}", content=random.Random(number).randbytes(LARGE)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "large.tar"
    layers = [layer(*BASE), *(large(number) for number in range(3))]
    path.write_bytes(oci_archive(layers, "docker.io/lab/large:1", compress=False).getvalue())
    return path


@pytest.fixture(scope="module")
def server(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with daemon.box.entered(), registry(tmp_path_factory.mktemp("registry")) as running_one:
        yield running_one


@pytest.fixture(scope="module")
def pushed(daemon: Daemon, server: Server, archive: Path) -> str:
    """The name that the registry has the large image by; the engine has it no more."""
    name = f"{server.address}/lab/large:1"
    daemon.ok("load", "-q", "-i", str(archive))
    daemon.ok("tag", "lab/large:1", name)
    daemon.ok("push", "-q", name)
    daemon.ok("rmi", name, "lab/large:1")
    return name


class Store:
    """What lies on the disk under an engine's root, seen from beside it."""

    def __init__(self, daemon: Daemon) -> None:
        self._images = daemon.root / "images"

    def names(self, place: str) -> list[str]:
        directory = self._images / place
        return [one.name for one in directory.iterdir()] if directory.is_dir() else []

    def half_made(self) -> list[str]:
        return [name for place in ("blobs/sha256", "layers") for name in self.names(place) if name.startswith(".")]

    def whole(self, place: str) -> set[str]:
        return {name for name in self.names(place) if not name.startswith(".")}


# Moments at which something is on its way; each comes in every run, some of them several times.
MOMENTS: dict[str, Callable[[Store], object]] = {
    "a blob comes": lambda store: [one for one in store.names("blobs/sha256") if one.startswith(".")],
    "a download comes": lambda store: store.names("partial"),
    "a blob is there": lambda store: store.whole("blobs/sha256"),
    "a layer is unpacked": lambda store: [one for one in store.names("layers") if one.startswith(".")],
    "a layer is there": lambda store: store.whole("layers"),
}


@pytest.fixture
def empty(daemon: Daemon) -> Iterator[Daemon]:
    """The module's engine without any image, before and afterwards."""
    yield daemon
    if daemon.process is None or daemon.process.poll() is not None:
        daemon.start()
    for container in daemon.client.get("/containers/json", all=True):
        daemon.client.delete(f"/containers/{container['Id']}", force=True, v=True)
    daemon.ok("image", "prune", "-a")
    store = Store(daemon)
    eventually(lambda: not store.names("blobs/sha256") and not store.names("layers"), what="the last blob's end")
    assert store.names("partial") == []


def cut(daemon: Daemon, moment: str, command: tuple[str, ...], victim: str) -> None:
    """Kill the engine or the client when it is that far."""
    store = Store(daemon)
    client = daemon.popen(NETMODEL, *command)
    eventually(lambda: MOMENTS[moment](store) or client.poll() is not None, what=moment)
    if victim == "engine":
        daemon.stop(signal.SIGKILL)
    else:
        client.send_signal(signal.SIGKILL)
    client.communicate(timeout=30)


def check(daemon: Daemon, name: str, layers: int) -> None:
    """Nothing half made is left, and what is told of is whole."""
    store = Store(daemon)
    eventually(lambda: not store.half_made(), what="the last half-made thing's end")
    daemon.stop()  # it may still be taking away what nobody waits for any more
    seen = Images(daemon.root / "images")
    for blob in seen.blobs.list():
        assert seen.blobs.verify(blob)
    for image in seen.list()[1:]:
        assert image.names == (name,)
        assert len(image.layers) == layers
    daemon.start()


@pytest.mark.parametrize("victim", ["engine", "client"])
@pytest.mark.parametrize("moment", ["a blob comes", "a blob is there", "a layer is unpacked", "a layer is there"])
def test_a_load_that_is_killed(empty: Daemon, archive: Path, moment: str, victim: str) -> None:
    load = ("load", "-q", "-i", str(archive))
    cut(empty, moment, load, victim)
    if victim == "engine":
        empty.start()

    check(empty, "lab/large:1", 4)
    assert empty.ok(*load) == "lab/large:1"
    size = empty.ok("run", "--rm", "lab/large:1", "/bin/stat", "-c", "%s", "/large0", "/large1", "/large2")
    assert size.split() == [str(LARGE)] * 3


@needs_registry
@pytest.mark.parametrize("victim", ["engine", "client"])
@pytest.mark.parametrize("moment", ["a download comes", "a blob is there", "a layer is unpacked", "a layer is there"])
def test_a_pull_that_is_killed(empty: Daemon, pushed: str, moment: str, victim: str) -> None:
    """And what was whole by then is not fetched again."""
    store = Store(empty)
    eventually(lambda: not store.whole("blobs/sha256") | store.whole("layers"), what="the blobs' end")

    cut(empty, moment, ("pull", "-q", pushed), victim)
    if victim == "engine":
        empty.start()

    check(empty, pushed, 4)
    whole = store.whole("blobs/sha256")
    again = empty.netmodel("pull", pushed)
    assert again.returncode == 0, again.stderr
    assert whole <= store.whole("blobs/sha256")
    assert empty.ok("run", "--rm", pushed, "/bin/stat", "-c", "%s", "/large2") == str(LARGE)


@pytest.mark.parametrize("victim", ["engine", "client"])
@pytest.mark.parametrize("moment", ["a blob comes", "a layer is unpacked"])
def test_a_commit_that_is_killed(empty: Daemon, tmp_path: Path, moment: str, victim: str) -> None:
    """The container goes on, and can be committed again."""
    base = tmp_path / "base.tar"
    base.write_bytes(docker_archive([layer(*BASE)], ["lab/base:1"]).getvalue())
    empty.ok("load", "-q", "-i", str(base))
    (tmp_path / "large").write_bytes(random.Random(5).randbytes(2 * LARGE))
    empty.ok("run", "-d", "--name", "writer", "lab/base:1", "/bin/sleep", "100")
    empty.ok("cp", str(tmp_path / "large"), "writer:/large")

    cut(empty, moment, ("commit", "writer", "lab/made:1"), victim)
    if victim == "engine":
        empty.start()

    store = Store(empty)
    eventually(lambda: not store.half_made(), what="the last half-made thing's end")
    eventually(lambda: empty.ok("inspect", "-f", "{{.State.Status}}", "writer") == "running", what="the container")
    empty.ok("commit", "writer", "lab/made:1")
    assert empty.ok("run", "--rm", "lab/made:1", "/bin/stat", "-c", "%s", "/large") == str(2 * LARGE)
    empty.ok("rm", "-f", "writer")


# --- the disk -----------------------------------------------------------------------------------


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[Cramped]:
    with running(tmp_path, Cramped) as daemon:
        assert isinstance(daemon, Cramped)
        yield daemon


def stored(daemon: Cramped) -> list[str]:
    """All that is kept of images."""
    images = Path(f"/proc/{daemon.pid}/root{daemon.root}/images")
    return sorted(str(one.relative_to(images)) for place in ("blobs", "layers") for one in (images / place).rglob("*"))


def test_a_full_disk(cramped: Cramped, tmp_path: Path) -> None:
    """What does not fit is refused in one sentence, and leaves the room it took."""
    small, too_large = tmp_path / "small.tar", tmp_path / "large.tar"
    small.write_bytes(docker_archive([layer(member("etc/motd", content=b"x"))], ["lab/small:1"]).getvalue())
    too_large.write_bytes(docker_archive([large(0)], ["lab/large:1"]).getvalue())
    cramped.ok("load", "-q", "-i", str(small))
    before = stored(cramped)

    for command in (f"load -q -i {too_large}", f"import {too_large} lab/large:1"):
        code, lines = told(cramped.netmodel(*command.split()))
        assert (code, lines[0][:24]) == (1, "error: the disk is full"), lines
        assert lines[-1].startswith("hint: make room on "), lines
        eventually(lambda: stored(cramped) == before, what="the room's return")
    assert "lab/large" not in cramped.ok("images")

    cramped.ok("tag", "lab/small:1", "lab/again:1")


def test_an_engine_does_not_start_on_a_read_only_root(tmp_path: Path) -> None:
    box = Box("host")
    daemon = Daemon(box, tmp_path)
    daemon.root.mkdir()
    try:
        mount = f"mount -t tmpfs -o ro none {shlex.quote(str(daemon.root))}"
        done = daemon.run("unshare", "--mount", "sh", "-c", f"{mount}; exec {NETMODEL} engine run")
    finally:
        box.close()

    code, lines = told(done)
    assert code == 1
    assert lines == [
        f"error: the state root {daemon.root} is on a read-only file system",
        "hint: dmesg tells why it is; repair it, and make it writable: mount -o remount,rw",
    ]
