"""Devices of the Container Device Interface, asked for by every client there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmodel.client import ApiError
from tests.support.daemon import NETMODEL, Daemon, needs_compose, needs_docker, running

pytestmark = pytest.mark.kernel
NODE = {"path": "/dev/acme", "hostPath": "/dev/zero"}
NAMES = {"acme.com/card": ("a", "all"), "nvidia.com/gpu": ("0", "1", "all")}
SAY = ("sh", "-c", "test -c /dev/acme && echo $ACME")


def describe(kind: str, name: str) -> dict[str, object]:
    said = f"GPU_{name}=1" if kind == "nvidia.com/gpu" else f"ACME={name}"
    return {"name": name, "containerEdits": {"env": [said], "deviceNodes": [NODE]}}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("cdi")
    (directory / "root").mkdir()
    (directory / "root" / "engine.json").write_text(json.dumps({"cdi-spec-dirs": [str(directory)]}))
    for file, kind in (("acme", "acme.com/card"), ("gpu", "nvidia.com/gpu")):
        (directory / f"{file}.json").write_text(
            json.dumps({"cdiVersion": "0.6.0", "kind": kind, "devices": [describe(kind, name) for name in NAMES[kind]]})
        )
    with running(directory) as daemon:
        yield daemon


def test_from_our_command_line(described: Daemon) -> None:
    assert described.ok("run", "--rm", "--device", "acme.com/card=a", "host", *SAY) == "a"

    refused = described.netmodel("create", "--device", "acme.com/card=b", "host")

    assert refused.returncode == 2
    assert "error: no CDI device acme.com/card=b" in refused.stderr
    assert "there are: acme.com/card=a, acme.com/card=all" in refused.stderr


def test_the_shell_completes_their_names(described: Daemon) -> None:
    done = described.run(
        "env",
        "COMP_WORDS=netmodel run --device acme.com/card=al",
        "COMP_CWORD=3",
        "_NETMODEL_COMPLETE=bash_complete",
        NETMODEL,
    )

    assert done.stdout.splitlines() == ["plain,acme.com/card=all"]


@needs_docker
def test_from_docker_s(described: Daemon) -> None:
    said = described.run("docker", "run", "--name", "docker-s", "--device", "acme.com/card=all", "host", *SAY)
    assert said.stdout == "all\n", said.stderr

    shape = described.client.get("/containers/docker-s/json")["HostConfig"]["DeviceRequests"]
    assert [(one["Driver"], one["DeviceIDs"]) for one in shape] == [("cdi", ["acme.com/card=all"])]
    info = json.loads(described.run("docker", "info", "--format", "json").stdout)
    assert info["CDISpecDirs"] == [str(described.root.parent)]
    assert described.client.get("/info")["DiscoveredDevices"] == [
        {"Source": "cdi", "ID": f"{kind}={name}"} for kind, names in NAMES.items() for name in names
    ]


@needs_docker
def test_gpus_from_docker_s_and_ours(described: Daemon) -> None:
    say = ("host", "sh", "-c", "env | grep ^GPU_ | sort | tr '\\n' ' '")
    for asked, said in (("all", "GPU_all=1"), ("2", "GPU_0=1 GPU_1=1"), ("device=1", "GPU_1=1")):
        for program in ("docker", NETMODEL):
            done = described.run(program, "run", "--rm", "--gpus", asked, *say)
            assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr
    wrong = described.netmodel("create", "--gpus", "some", "host")
    assert "gpus 'some' are neither all, nor a number" in wrong.stderr
    missing = described.netmodel("create", "--gpus", "device=7", "host")
    assert "no CDI device nvidia.com/gpu=7" in missing.stderr


@needs_compose
def test_from_a_compose_file_by_us_and_by_docker_compose(described: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    reserved = "deploy: {resources: {reservations: {devices: [{driver: cdi, device_ids: [acme.com/card=all]}]}}}"
    file.write_text(
        f"""
services:
  a: {{image: host, network_mode: none, devices: [acme.com/card=a], command: sleep infinity}}
  all: {{image: host, network_mode: none, command: sleep infinity, {reserved}}}
"""
    )

    names: list[str] = []

    described.ok("up", str(file), "-p", "ours")

    shapes = {name: described.client.get(f"/containers/ours-{name}-1/json") for name in ("a", "all")}
    for name, shape in shapes.items():
        assert shape["HostConfig"]["DeviceRequests"][0]["DeviceIDs"] == [f"acme.com/card={name}"]
        assert described.ok("exec", f"ours-{name}-1", "stat", "-c", "%t:%T", "/dev/acme") == "1:5"
    described.ok("down", "ours")

    done = described.run("docker-compose", "-f", str(file), "-p", "theirs", "up", "-d")
    assert done.returncode == 0, done.stderr
    for one in described.client.get("/containers/json", filters='{"label":["com.docker.compose.project=theirs"]}'):
        assert described.ok("exec", one["Id"], "stat", "-c", "%t:%T", "/dev/acme") == "1:5"
        names.append(one["Labels"]["com.docker.compose.service"])
    assert sorted(names) == ["a", "all"]
    described.run("docker-compose", "-f", str(file), "-p", "theirs", "down", "-t", "0")


def test_other_ways_to_ask_are_refused_by_name(described: Daemon) -> None:
    for request, sentence in (
        ({"Driver": "acme", "Count": -1}, "devices of driver acme cannot be had"),
        ({"Count": -1, "Capabilities": [["tpu"]]}, "devices of driver any that can tpu cannot be had"),
        ({"Driver": "cdi", "Count": 1}, "a device request of driver cdi takes no count"),
        ({"Count": 1, "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}, "both a count and ids"),
        ({"Driver": "nvidia", "Count": 1, "Options": {"a": "b"}}, "options of device requests have no effect"),
        ({"Driver": "cdi", "DeviceIDs": ["card"]}, "'card' is not of the form"),
    ):
        with pytest.raises(ApiError, match=sentence):
            described.client.post(
                "/containers/create", {"Image": "host", "Cmd": ["true"], "HostConfig": {"DeviceRequests": [request]}}
            )
