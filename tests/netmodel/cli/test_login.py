"""Names and passwords for registries: asked of the registry, kept where docker keeps them, and forgotten."""

from __future__ import annotations

import base64
import json
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmodel.cli.dockerconfig import DockerConfig
from netmodel.client import ClientError
from tests.support.daemon import NETMODEL, Daemon, needs_docker
from tests.support.registry import PASSWORD, USER, Server, basic, needs_registry, registry
from tests.support.tars import layer, member, oci_archive

pytestmark = [pytest.mark.kernel, needs_registry]

# Keeps what it is given in files beside it, as the real ones do in a keychain.
HELPER = """#!/bin/sh
here=$(dirname "$0")
case $1 in
store) cat > "$here/kept" ;;
get) read server; grep -qsF "\\"$server\\"" "$here/kept" || { echo "credentials not found in native keychain"; exit 1; }
     cat "$here/kept" ;;
erase) rm -f "$here/kept" ;;
esac
"""


@pytest.fixture(scope="module")
def server(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("registry")
    with daemon.box.entered(), registry(place, basic(place)) as running:
        yield running


@pytest.fixture
def config(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of the test's own, and a directory for programs that comes first."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setitem(daemon.environment, "DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setitem(daemon.environment, "PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path / "docker/config.json"


def helper(config: Path, name: str = "lab", text: str = HELPER) -> Path:
    program = config.parents[1] / f"bin/docker-credential-{name}"
    program.write_text(text)
    program.chmod(0o755)
    return program


def write(config: Path, **value: object) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(value))


def login(daemon: Daemon, server: Server, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    return daemon.netmodel("login", "-u", USER, "--password-stdin", server.address, text=f"{password}\n")


def image(daemon: Daemon, server: Server, tmp_path: Path) -> str:
    archive = tmp_path / "app.tar"
    archive.write_bytes(oci_archive([layer(member("file", content=b"x"))], "docker.io/lab/login:1").getvalue())
    daemon.ok("load", "-q", "-i", str(archive))
    name = f"{server.address}/lab/login:1"
    daemon.ok("tag", "lab/login:1", name)
    return name


def test_what_is_kept_is_shown_from_then_on(daemon: Daemon, server: Server, config: Path, tmp_path: Path) -> None:
    write(config, HttpHeaders={"X": "1"}, auths={"other.lan": {"auth": "eDp5"}})
    name = image(daemon, server, tmp_path)
    assert daemon.netmodel("push", name).returncode == 1

    done = login(daemon, server)

    assert done.returncode == 0
    assert done.stderr == f"{server.address} knows {USER}; kept in {config}\n"
    kept = json.loads(config.read_text())
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert kept == {"HttpHeaders": {"X": "1"}, "auths": {"other.lan": {"auth": "eDp5"}, server.address: {"auth": auth}}}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    daemon.ok("push", name)

    assert "forgotten" in daemon.netmodel("logout", f"https://{server.address}/v2/").stderr
    assert list(json.loads(config.read_text())["auths"]) == ["other.lan"]
    assert daemon.netmodel("pull", name).returncode == 1
    assert "nothing to forget" in daemon.netmodel("logout", server.address).stderr


def test_what_the_registry_does_not_take_is_not_kept(daemon: Daemon, server: Server, config: Path) -> None:
    refused = login(daemon, server, "wrong")

    assert refused.returncode == 1
    assert f"registry {server.address} does not let us in: name or password are wrong" in refused.stderr
    assert not config.exists()


def test_a_program_keeps_them_where_one_is_named(daemon: Daemon, server: Server, config: Path, tmp_path: Path) -> None:
    write(config, credsStore="missing", credHelpers={server.address: "lab"})
    program = helper(config)
    name = image(daemon, server, tmp_path)

    assert login(daemon, server).returncode == 0

    kept = json.loads(program.with_name("kept").read_text())
    assert kept == {"ServerURL": server.address, "Username": USER, "Secret": PASSWORD}
    assert json.loads(config.read_text())["auths"] == {server.address: {}}
    daemon.ok("push", name)
    assert "forgotten" in daemon.netmodel("logout", server.address).stderr
    assert not program.with_name("kept").exists()
    assert daemon.netmodel("push", name).returncode == 1


def test_a_store_for_all_and_tokens_in_it(config: Path) -> None:
    write(config, credsStore="lab", auths={"https://index.docker.io/v1/": {}})
    kept = helper(config).with_name("kept")
    kept.write_text('{"ServerURL": "https://index.docker.io/v1/", "Username": "<token>", "Secret": "t0k3n"}')

    assert DockerConfig().get("docker.io") == {"identitytoken": "t0k3n"}
    assert DockerConfig().get("other.lan") == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "docker-credential-lab is not here"),
        ("#!/bin/sh\necho locked >&2; exit 1", "docker-credential-lab get failed: locked"),
        ("#!/bin/sh\necho nonsense", "answers what nobody understands"),
    ],
)
def test_a_program_that_fails_is_named(config: Path, text: str | None, complaint: str) -> None:
    write(config, credsStore="lab")
    if text is not None:
        helper(config, text=text)

    with pytest.raises(ClientError, match=complaint):
        DockerConfig().get("registry.lan")


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": 1}', '{"auths": {"registry.lan": {"auth": "?"}}}'])
def test_a_configuration_that_is_wrong_is_named(config: Path, content: str) -> None:
    config.parent.mkdir()
    config.write_text(content)

    with pytest.raises(ClientError, match=r"config\.json"):
        DockerConfig().get("registry.lan")


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(daemon: Daemon, server: Server, config: Path) -> None:
    ours, theirs = pty.openpty()
    with daemon.box.entered():
        process = subprocess.Popen(
            [NETMODEL, "login", server.address],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=daemon.environment,
            start_new_session=True,
        )
    os.close(theirs)
    shown = b""
    for question, answer in (("Username: ", USER), ("Password: ", PASSWORD)):
        while not shown.endswith(question.encode()):
            shown += os.read(ours, 4096)
        os.write(ours, f"{answer}\n".encode())
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)

    assert process.wait(30) == 0, shown
    assert shown.endswith(f"kept in {config}\r\n".encode())
    assert PASSWORD.encode() not in shown


def test_requests_that_are_wrong(daemon: Daemon, server: Server, config: Path) -> None:
    for arguments in (["-u", USER], ["--password-stdin"], ["-u", USER, "-p", "x", "--password-stdin"]):
        assert daemon.netmodel("login", *arguments, server.address).returncode == 2


@needs_docker
def test_docker_logs_in_the_same_way(daemon: Daemon, server: Server, config: Path, tmp_path: Path) -> None:
    done = daemon.run("docker", "login", "-u", USER, "--password-stdin", server.address, text=PASSWORD)
    assert done.returncode == 0, done.stderr

    daemon.ok("push", image(daemon, server, tmp_path))  # by what docker has written
    wrong = daemon.run("docker", "login", "-u", USER, "--password-stdin", server.address, text="wrong")
    assert wrong.returncode == 1
    assert "name or password are wrong" in wrong.stderr
