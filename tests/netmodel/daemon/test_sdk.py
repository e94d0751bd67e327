"""Docker's SDK for Python, with its own defaults: a client that others build upon."""

from __future__ import annotations

import io
import socket
import tarfile
import time
from collections.abc import Iterator

import docker
import pytest
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from tests.support.daemon import Daemon
from tests.support.wait import eventually

pytestmark = pytest.mark.kernel


@pytest.fixture
def sdk(daemon: Daemon) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=f"unix://{daemon.host}")
    yield client
    client.close()


@pytest.fixture
def sleeper(sdk: docker.DockerClient) -> Iterator[Container]:
    container = sdk.containers.run(
        "host", "sleep infinity", detach=True, name="sdk", labels={"of": "sdk"}, environment={"COLOUR": "red"}
    )
    yield container
    container.remove(force=True)


def test_it_runs_and_removes(sdk: docker.DockerClient) -> None:
    assert sdk.containers.run("host", "echo hello", remove=True) == b"hello\n"
    with pytest.raises(ContainerError) as failed:
        sdk.containers.run("host", ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"why\n")
    assert sdk.containers.list(all=True) == []


def test_it_finds_what_runs(sdk: docker.DockerClient, sleeper: Container) -> None:
    sleeper.reload()

    assert sleeper.status == "running"
    assert sdk.containers.list() == [sleeper]
    assert sdk.containers.list(filters={"label": "of=sdk", "status": "running"}) == [sleeper]
    assert sdk.containers.list(filters={"name": "other"}) == []
    assert sleeper in sdk.networks.get("bridge").containers
    assert "host:latest" in {tag for image in sdk.images.list() for tag in image.tags}
    assert sleeper.image.tags == ["host:latest"]


def test_it_executes(sleeper: Container) -> None:
    assert sleeper.exec_run(["sh", "-c", "echo $COLOUR"]).output == b"red\n"
    apart = sleeper.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
    assert (apart.exit_code, apart.output) == (4, (b"out\n", b"err\n"))


def test_output_comes_after_the_head(sdk: docker.DockerClient, sleeper: Container, daemon: Daemon) -> None:
    """The SDK loses what it reads together with the head, so the program's output waits until it has read that."""
    made = sdk.api.exec_create(sleeper.id, "echo hello")["Id"]
    head = f"POST /exec/{made}/start HTTP/1.1\r\nHost: x\r\nUser-Agent: docker-sdk-python/7\r\nUpgrade: tcp\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.host))
        connection.sendall(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
        eventually(lambda: sdk.api.exec_inspect(made)["ExitCode"] == 0)

        assert connection.recv(65536).endswith(b"\r\n\r\n")
        assert connection.recv(65536).endswith(b"hello\n")


def test_files_go_in_and_out(sleeper: Container) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("note")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"paper"))

    assert sleeper.put_archive("/root", archive.getvalue())
    pieces, stat = sleeper.get_archive("/root/note")

    assert stat["size"] == 5
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        found = tar.extractfile("note")
        assert found is not None
        assert found.read() == b"paper"
    assert {"Path": "/root/note", "Kind": 1} in sleeper.diff()


def test_its_life(sdk: docker.DockerClient, sleeper: Container) -> None:
    began = int(time.time())
    sleeper.pause()
    sleeper.unpause()
    sleeper.rename("sdk-renamed")
    sleeper.update(mem_limit="64m", memswap_limit="64m")
    sleeper.restart(timeout=0)
    processes = sleeper.top()["Processes"]
    usage = sleeper.stats(stream=False)
    sleeper.kill()

    assert len(processes) == 1
    assert usage["memory_stats"]["limit"] == 64 << 20
    assert sleeper.wait() == {"StatusCode": 137}
    events = sdk.events(since=began, until=int(time.time()) + 1, decode=True, filters={"container": sleeper.id})
    told = [event["Action"] for event in events]
    events.close()
    # In their order, whatever else there was.
    rest = iter(told)
    assert all(action in rest for action in ("pause", "unpause", "rename", "update", "restart", "kill", "die")), told


def test_networks(sdk: docker.DockerClient, sleeper: Container) -> None:
    pool = IPAMPool(subnet="10.99.0.0/24", gateway="10.99.0.254")
    network = sdk.networks.create("lan", driver="bridge", internal=True, ipam=IPAMConfig(pool_configs=[pool]))
    try:
        network.connect(sleeper, aliases=["other"], ipv4_address="10.99.0.7")
        sleeper.reload()
        assert sleeper.attrs["NetworkSettings"]["Networks"]["lan"]["IPAddress"] == "10.99.0.7"
        assert b"10.99.0.7" in sleeper.exec_run(["getent", "hosts", "other.lan"]).output
        with pytest.raises(APIError, match="active endpoints"):
            network.remove()
        network.disconnect(sleeper)
    finally:
        network.remove()
    with pytest.raises(NotFound):
        sdk.networks.get("lan")


def test_volumes(sdk: docker.DockerClient) -> None:
    volume = sdk.volumes.create("kept", labels={"of": "sdk"})
    mounts = {"kept": {"bind": "/data", "mode": "rw"}}

    sdk.containers.run("host", ["sh", "-c", "echo paper > /data/note"], volumes=mounts, remove=True)
    read = sdk.containers.run("host", ["cat", "/data/note"], volumes=mounts, remove=True)

    assert read == b"paper\n"
    assert sdk.volumes.list(filters={"label": "of=sdk"}) == [volume]
    volume.remove()
    assert sdk.volumes.list() == []


def test_what_is_not_there_is_told_as_docker_does(sdk: docker.DockerClient) -> None:
    with pytest.raises(NotFound):
        sdk.containers.get("nobody")
    with pytest.raises(ImageNotFound):
        sdk.images.get("nothing:1")
