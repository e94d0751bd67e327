"""Images by the command line and by docker's: there and back through archives and a registry."""

from __future__ import annotations

import base64
import json
import os
import pty
import random
import signal
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.netmodel.engine.test_images import BASE, CHANGE, needs_busybox
from tests.support.daemon import NETMODEL, Daemon, needs_docker
from tests.support.registry import PASSWORD, USER, Server, basic, in_between, needs_registry, registry
from tests.support.tars import docker_archive, layer, member, oci_archive
from tests.support.wait import eventually

pytestmark = [pytest.mark.kernel, needs_busybox]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "app.tar"
    layers = [layer(*BASE), layer(*CHANGE)]
    path.write_bytes(docker_archive(layers, ["lab/app:1"], Cmd=["/bin/cat", "/srv/new"]).getvalue())
    return path


@pytest.fixture(scope="module")
def server(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A registry on the engine's host that wants a name and a password, which docker's configuration has."""
    place = tmp_path_factory.mktemp("registry")
    with daemon.box.entered(), registry(place, basic(place)) as running:
        docker = Path(daemon.environment["DOCKER_CONFIG"])
        docker.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (docker / "config.json").write_text(json.dumps({"auths": {running.address: {"auth": auth}}}))
        yield running


def test_load_shows_and_runs(daemon: Daemon, archive: Path) -> None:
    assert daemon.ok("load", "-i", str(archive)) == "lab/app:1"

    assert daemon.ok("run", "--rm", "lab/app:1") == "change"
    listed = daemon.ok("images")
    assert "lab/app:1" in listed
    assert "host:latest" in listed
    assert [line.split()[-1] for line in daemon.ok("history", "lab/app:1").splitlines()[1:]] == ["1", "0"]
    (shown,) = json.loads(daemon.ok("image", "inspect", "lab/app:1"))
    assert shown["Config"]["Cmd"] == ["/bin/cat", "/srv/new"]
    assert daemon.ok("image", "inspect", "-f", "{{.Os}}", "lab/app:1") == "linux"


def test_listing_says_what_is_asked_for_alone(daemon: Daemon, archive: Path) -> None:
    daemon.ok("load", "-i", str(archive))
    daemon.ok("tag", "lab/app:1", "lab/other:2")

    form = ("--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
    assert daemon.ok("images", *form, "lab/other") == "lab/other 2 <none>"
    assert daemon.ok("images", *form, "--filter", "reference=lab/*:1") == "lab/app 1 <none>"
    (whole,) = daemon.ok("images", "-q", "--no-trunc", "lab/other").splitlines()
    assert daemon.ok("images", "--digests", "lab/other").splitlines()[1].split()[:3] == [
        "lab/other:2",
        "<none>",
        whole[7:19],
    ]
    refused = daemon.netmodel("tag", "lab/app:1", "sha256:abc")
    assert (refused.returncode, "taken for a digest" in refused.stderr) == (2, True)
    daemon.ok("rmi", "lab/other:2")


def test_what_is_on_the_disk(daemon: Daemon, archive: Path) -> None:
    daemon.ok("load", "-i", str(archive))
    daemon.ok("create", "--name", "user", "-v", "held:/x", "lab/app:1")

    table = {line.split()[0]: line.split()[1:] for line in daemon.ok("engine", "df").splitlines()}

    usage = json.loads(daemon.ok("engine", "df", "--json"))
    assert table["images"][:2] == [str(len(usage["Images"])), "1"]
    assert table["containers"][:2] == ["1", "0"]
    assert table["volumes"][:2] == ["1", "1"]
    assert daemon.ok("image", "prune", "-a", "--filter", "until=24h") == ""
    assert "lab/app:1" in daemon.ok("images")
    assert daemon.netmodel("image", "prune", "--filter", "nope=1").returncode == 2
    daemon.ok("rm", "user")
    daemon.ok("volume", "rm", "held")


def test_save_and_load_by_pipe_and_by_file(daemon: Daemon, archive: Path, tmp_path: Path) -> None:
    daemon.ok("load", "-i", str(archive))
    target = tmp_path / "saved.tar"
    daemon.ok("save", "-o", str(target), "lab/app:1")
    image_id = daemon.ok("images", "-q", "lab/app:1")

    assert "untagged: lab/app:1" in daemon.ok("rmi", "lab/app:1")
    assert daemon.run("sh", "-c", f"{NETMODEL} load < {target}").stdout.strip() == "lab/app:1"

    assert daemon.ok("images", "-q", "lab/app:1") == image_id
    assert not target.with_name("saved.tar.part").exists()


def test_import_and_export(daemon: Daemon, archive: Path, tmp_path: Path) -> None:
    daemon.ok("load", "-i", str(archive))
    daemon.ok("run", "--name", "exported", "lab/app:1", "/bin/sh", "-c", "echo mine > /srv/mine")
    target = tmp_path / "rootfs.tar"

    daemon.ok("export", "-o", str(target), "exported")
    daemon.ok("rm", "exported")
    with tarfile.open(target) as tar:
        assert {"srv/mine", "srv/new"} <= set(tar.getnames())
    imported = daemon.ok("import", "-c", 'CMD ["/bin/cat", "/srv/mine"]', "-c", "ENV A=1", str(target), "lab/flat:1")

    assert imported.startswith("sha256:")
    assert daemon.ok("run", "--rm", "lab/flat:1") == "mine"


def test_commit(daemon: Daemon, archive: Path) -> None:
    daemon.ok("load", "-i", str(archive))
    daemon.ok("run", "--name", "written", "lab/app:1", "/bin/sh", "-c", "echo mine > /srv/mine")

    change = ("-c", 'CMD ["/bin/cat", "/srv/mine"]', "-c", "LABEL of=test")
    made = daemon.ok("commit", "-a", "me", "-m", "why", *change, "written", "lab/made:1")

    assert made == daemon.ok("image", "inspect", "-f", "{{.Id}}", "lab/made:1")
    assert daemon.ok("run", "--rm", "lab/made:1") == "mine"
    assert "why" in daemon.ok("history", "lab/made:1")
    unnamed = daemon.run("docker", "commit", "--pause=false", "-c", "WORKDIR /srv", "written")
    assert unnamed.stdout.startswith("sha256:"), unnamed.stderr
    assert daemon.ok("run", "--rm", unnamed.stdout.strip(), "/bin/cat", "mine") == "mine"
    wrong = daemon.netmodel("commit", "-c", "FROM x", "written")
    assert (wrong.returncode, "'FROM x' is not known" in wrong.stderr) == (2, True)
    daemon.ok("rm", "written")


def test_an_image_in_use_stays(daemon: Daemon, archive: Path) -> None:
    daemon.ok("load", "-i", str(archive))
    daemon.ok("create", "--name", "needs", "lab/app:1")

    refused = daemon.netmodel("rmi", "lab/app:1")

    assert refused.returncode == 1
    assert refused.stderr == "error: image lab/app:1 is used by needs\nhint: remove them first\n"
    daemon.ok("rm", "needs")


@needs_registry
def test_push_pull_and_run_what_is_missing(daemon: Daemon, server: Server, archive: Path, tmp_path: Path) -> None:
    name = f"{server.address}/lab/app:1"
    daemon.ok("load", "-i", str(archive))
    daemon.ok("tag", "lab/app:1", name)

    pushed = daemon.ok("push", name)
    assert pushed.startswith(f"{name}@sha256:")
    daemon.ok("rmi", name)
    daemon.ok("rmi", "lab/app:1")
    daemon.ok("image", "prune")

    never = daemon.netmodel("run", "--pull", "never", "--rm", name)
    assert never.returncode == 125
    assert f"there is no image {name}" in never.stderr
    fetched = daemon.netmodel("run", "--rm", name)
    assert (fetched.returncode, fetched.stdout) == (0, "change")
    assert "1: Pulling from lab/app" in fetched.stderr
    assert "Pull complete" in fetched.stderr
    again = daemon.netmodel("pull", name)
    assert (again.stdout, again.returncode) == (f"{name}\n", 0)
    assert "Image is up to date" in again.stderr

    daemon.ok("rmi", name)
    file = tmp_path / "lab.yaml"
    file.write_text(f"services:\n  a: {{image: '{name}', command: sleep 100}}\n")
    up = daemon.netmodel("up", str(file))
    assert up.returncode == 0, up.stderr
    assert "1: Pulling from lab/app" in up.stderr
    daemon.ok("down", str(file))


@needs_registry
def test_a_pull_that_fails_says_why(daemon: Daemon, server: Server) -> None:
    missing = daemon.netmodel("pull", f"{server.address}/lab/missing:1")
    assert missing.returncode == 1
    assert f"error: registry {server.address} has no lab/missing:1\n" in missing.stderr

    wrong = daemon.netmodel("pull", "UPPER")
    assert wrong.returncode == 2
    assert "an image cannot be called" in wrong.stderr


@needs_registry
def test_bars_on_a_terminal(daemon: Daemon, server: Server, archive: Path) -> None:
    name = f"{server.address}/lab/bars:1"
    daemon.ok("load", "-i", str(archive))
    daemon.ok("tag", "lab/app:1", name)
    daemon.ok("push", name)
    daemon.ok("rmi", name, "lab/app:1")
    daemon.ok("image", "prune")

    def pull() -> None:
        os.execvpe(NETMODEL, [NETMODEL, "pull", name], daemon.environment)

    pid, terminal = pty.fork()
    if pid == 0:
        daemon.box.setns()
        pull()
    seen = b""
    with suppress(OSError):  # the terminal is gone when the process is
        while piece := os.read(terminal, 65536):
            seen += piece
    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"\x1b[" in seen
    assert b"Pull complete" in seen


def test_nonsense_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive" * 1000)

    for argv in (("load", "-i", str(tmp_path / "bad.tar")), ("import", str(tmp_path / "bad.tar"))):
        refused = daemon.netmodel(*argv)
        assert refused.returncode == 2
        assert refused.stderr.startswith("error: ")
        assert len(refused.stderr.splitlines()) <= 2
    assert daemon.netmodel("load", "-i", "/nowhere").returncode == 2
    assert daemon.netmodel("save", "nosuch", "-o", str(tmp_path / "x")).returncode == 1
    assert not (tmp_path / "x").exists()


# --- docker's own command line ----------------------------------------------------------------


@needs_docker
@needs_registry
def test_docker_does_the_same(daemon: Daemon, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "oci.tar"
    path.write_bytes(oci_archive([layer(*BASE), layer(*CHANGE)], "docker.io/lab/oci:1").getvalue())
    name = f"{server.address}/lab/docker:1"

    def docker(*argv: str) -> str:
        done = daemon.run("docker", *argv)
        assert done.returncode == 0, f"docker {' '.join(argv)}: {done.stderr}{done.stdout}"
        return done.stdout

    assert "Loaded image: lab/oci:1" in docker("load", "-i", str(path))
    docker("tag", "lab/oci:1", name)
    assert "digest: sha256:" in docker("push", name)
    assert f"Untagged: {name}" in docker("rmi", name)
    assert "Downloaded newer image" in docker("pull", name)
    assert "change" in docker("run", "--rm", name, "/bin/cat", "/srv/new")
    assert "lab/oci" in docker("images", "lab/oci")
    assert "step 1" in docker("history", "lab/oci:1")
    docker("save", "-o", str(tmp_path / "saved.tar"), "lab/oci:1")
    docker("rmi", "lab/oci:1", name)
    assert "lab/oci:1" in docker("load", "-i", str(tmp_path / "saved.tar"))
    container = docker("create", "lab/oci:1", "/bin/sh").strip()
    docker("export", "-o", str(tmp_path / "rootfs.tar"), container)
    assert "sha256:" in docker("import", str(tmp_path / "rootfs.tar"), "lab/flat:2")
    docker("rm", container)
    assert "Images" in docker("system", "df")
    assert json.loads(docker("inspect", "lab/oci:1"))[0]["RootFS"]["Layers"]
    docker("image", "prune", "-af")
    assert "lab/oci" not in docker("images")
    missing = daemon.run("docker", "pull", f"{server.address}/lab/missing:1")
    assert missing.returncode == 1
    assert "has no lab/missing:1" in missing.stderr


@needs_registry
def test_an_interrupted_pull_stops_and_the_next_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    """Nobody wants what an interrupted command asked for; what came of it is not asked for again."""
    big = layer(member("big", content=random.Random(7).randbytes(4 << 20)))
    path = tmp_path / "big.tar"
    path.write_bytes(oci_archive([big], "docker.io/lab/big:1").getvalue())
    ranges: list[str | None] = []
    hung_up = threading.Event()

    def drip(asked: BaseHTTPRequestHandler) -> bool:
        """Half of the layer at once, the rest byte by byte."""
        content = plain.get(asked.path.removeprefix("/v2/")) if "/blobs/" in asked.path else b""
        if len(content) < 1 << 20:
            return False
        ranges.append(asked.headers.get("Range"))
        if len(ranges) > 1:
            return False
        asked.send_response(200)
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        try:
            asked.wfile.write(content[: 2 << 20])
            for position in range(2 << 20, len(content)):
                asked.wfile.write(content[position : position + 1])
                time.sleep(0.01)  # a slow line, for as long as anybody listens
        except OSError:
            hung_up.set()
        asked.close_connection = True
        return True

    with daemon.box.entered(), registry(tmp_path / "open") as plain, in_between(plain.address, drip) as address:
        daemon.ok("load", "-i", str(path))
        daemon.ok("tag", "lab/big:1", f"{plain.address}/lab/big:1")
        daemon.ok("push", f"{plain.address}/lab/big:1")
        daemon.ok("rmi", "lab/big:1", f"{plain.address}/lab/big:1")
        daemon.ok("image", "prune")
        pulling = daemon.popen(NETMODEL, "pull", f"{address}/lab/big:1")
        partial = daemon.root / "images/partial"
        eventually(lambda: partial.exists() and any(one.stat().st_size > 2 << 20 for one in partial.iterdir()))
        pulling.send_signal(signal.SIGINT)
        pulling.communicate(timeout=10)
        assert pulling.returncode == 130
        assert hung_up.wait(10)

        again = daemon.netmodel("pull", f"{address}/lab/big:1")

    assert again.returncode == 0, again.stderr
    assert ranges[0] is None
    assert int(str(ranges[1]).removeprefix("bytes=").removesuffix("-")) > 2 << 20
