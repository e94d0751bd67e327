"""Options become requests: Docker's words, Docker's meaning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from netmodel.cli import run as module
from netmodel.cli.network import create as network_create
from netmodel.cli.options import container_options, create_body, image_ref
from netmodel.cli.pools import pools
from netmodel.cli.session import Verb
from netmodel.cli.template import render
from netmodel.cli.units import Size, moment, size


def body(*argv: str) -> dict[str, Any]:
    """The request of `create` with these arguments."""
    found: dict[str, Any] = {}

    @click.command(cls=Verb, context_settings=module._SETTINGS)
    @container_options
    @click.argument("image")
    @click.argument("command", nargs=-1, type=click.UNPROCESSED)
    def create(image: str, command: tuple[str, ...], **options: Any) -> None:
        found.update(create_body(image, command, options))

    create.main([*argv], standalone_mode=False)
    return found


def refusal(*argv: str) -> str:
    with pytest.raises(click.UsageError) as error:
        body(*argv)
    return error.value.format_message()


def test_options_end_at_the_image() -> None:
    found = body("-e", "A=1", "host", "sh", "-e", "--rm", "--", "x")

    assert found["Cmd"] == ["sh", "-e", "--rm", "--", "x"]
    assert found["Env"] == ["A=1"]
    assert found["HostConfig"]["AutoRemove"] is False


@pytest.mark.parametrize(
    ("argv", "removed", "terminal", "command"),
    [
        (("--rm=true", "-it", "host"), True, True, None),
        (("--rm=false", "--tty=1", "host", "x", "--rm=true"), False, True, ["x", "--rm=true"]),
        (("-ie", "--rm=true", "--name", "--tty=true", "host"), False, False, None),
        (("--name=a=b", "--rm=T", "-l", "x", "host"), True, False, None),
        (("--rm=true", "--", "host", "--tty=true"), True, False, ["--tty=true"]),
    ],
)
def test_flags_may_have_values(argv: tuple[str, ...], removed: bool, terminal: bool, command: list[str] | None) -> None:
    found = body(*argv)

    assert (found["HostConfig"]["AutoRemove"], found["Tty"], found["Cmd"]) == (removed, terminal, command)


def test_flags_with_values_of_a_network() -> None:
    def values(*argv: str) -> dict[str, Any]:
        return network_create.make_context("create", [*argv]).params

    found = values("--ipv4=false", "--ipv6=true", "net", "--internal=false")

    assert (found["ipv4"], found["ipv6"], found["internal"], found["name"]) == (False, True, False, "net")
    assert values("--ipv4=true", "net")["ipv4"]
    with pytest.raises(click.BadParameter, match="'no' is neither true nor false"):
        values("--ipv6=no", "net")


def test_networks_with_settings_of_their_own() -> None:
    found = body(
        "--network", "name=a,ip=10.0.0.2,alias=x,alias=y,interface=lan0,gw-priority=5", "--network", "b", "host"
    )

    assert found["HostConfig"]["NetworkMode"] == "a"
    assert found["NetworkingConfig"]["EndpointsConfig"] == {
        "a": {
            "IPAMConfig": {"IPv4Address": "10.0.0.2"},
            "Aliases": ["x", "y"],
            "GwPriority": 5,
            "DriverOpts": {"com.docker.network.endpoint.ifname": "lan0"},
        },
        "b": {},
    }


def test_addresses_belong_to_the_first_network() -> None:
    found = body(
        "--network", "a", "--network", "b", "--ip", "10.0.0.9", "--ip6", "fd00::9", "--network-alias", "w", "host"
    )

    assert found["NetworkingConfig"]["EndpointsConfig"]["a"] == {
        "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9"},
        "Aliases": ["w"],
    }


@pytest.mark.parametrize(
    ("text", "key", "binding"),
    [
        ("80", "80/tcp", ("", "")),
        ("8080:80", "80/tcp", ("", "8080")),
        ("127.0.0.1:8080:80", "80/tcp", ("127.0.0.1", "8080")),
        ("127.0.0.1::80/udp", "80/udp", ("127.0.0.1", "")),
        ("[::1]:8080:80", "80/tcp", ("::1", "8080")),
        ("8000-8010:80", "80/tcp", ("", "8000-8010")),
    ],
)
def test_published_ports(text: str, key: str, binding: tuple[str, str]) -> None:
    found = body("-p", text, "host")

    assert found["HostConfig"]["PortBindings"] == {key: [{"HostIp": binding[0], "HostPort": binding[1]}]}
    assert found["ExposedPorts"] == {key: {}}


def test_a_host_port_of_zero_is_any() -> None:
    assert body("-p", "0:80", "host")["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": ""}]}


def test_a_range_of_ports_is_published_one_by_one() -> None:
    found = body("-p", "8000-8002:80-82", "host")["HostConfig"]["PortBindings"]

    assert [found[f"{port}/tcp"][0]["HostPort"] for port in (80, 81, 82)] == ["8000", "8001", "8002"]


def test_mounts_of_relative_paths_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    found = body("-v", "./src:/dst:ro", "-v", "data:/data", "-v", "/anonymous", "--tmpfs", "/t:size=1m", "--mount",
                 "type=bind,src=./m,dst=/m,readonly", "host")  # fmt: skip

    assert found["HostConfig"]["Binds"] == [f"{tmp_path}/src:/dst:ro", "data:/data"]
    assert found["Volumes"] == {"/anonymous": {}}
    assert found["HostConfig"]["Tmpfs"] == {"/t": "size=1m"}
    assert found["HostConfig"]["Mounts"] == [
        {"Type": "bind", "Source": f"{tmp_path}/m", "Target": "/m", "ReadOnly": True}
    ]
    assert image_ref("./rootfs") == f"{tmp_path}/rootfs"
    assert image_ref("host") == "host"


def test_limits() -> None:
    host = body("-m", "64m", "--cpus", "1.5", "--pids-limit", "-1", "--ulimit", "nofile=10:20", "--shm-size", "1g",
                "--memory-swap", "-1", "host")["HostConfig"]  # fmt: skip

    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 << 20, 1_500_000_000, -1)
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 10, "Hard": 20}]
    assert (host["ShmSize"], host["MemorySwap"]) == (1 << 30, -1)
    huge = body("--hugetlb-limit", "2MB=64m", "--hugetlb-limit", "1GB=0", "host")["HostConfig"]["HugetlbLimits"]
    assert huge == [{"PageSize": "2MB", "Limit": 64 << 20}, {"PageSize": "1GB", "Limit": 0}]


def test_maps_of_ids() -> None:
    argv = ("--uidmap", "0:100000:1000", "--uidmap", "1000:1000", "--gidmap", "0:100000:5", "host")

    assert body(*argv)["HostConfig"]["UsernsMode"] == (
        "private:uidmap=0:100000:1000,uidmap=1000:1000,gidmap=0:100000:5"
    )
    assert body("--userns", "auto:size=9", "host")["HostConfig"]["UsernsMode"] == "auto:size=9"


def test_environment_from_files_and_from_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\nA=file\nB=file=with=signs\nOURS\n\n")
    monkeypatch.setenv("OURS", "1")
    monkeypatch.delenv("UNSET", raising=False)

    assert body("--env-file", str(file), "-e", "A=option", "-e", "UNSET", "host")["Env"] == [
        "A=option",
        "B=file=with=signs",
        "OURS=1",
    ]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("-p", "x:y", "host"), "port 'x:y' is not of the form"),
        (("-p", "70000:1", "host"), "70000 is outside 1 to 65535"),
        (("-p", "1-2:1-3", "host"), "differ in length"),
        (("-m", "lots", "host"), "'lots' is not a size"),
        (("--network", "host", "--network", "a", "host"), "exclude each other"),
        (("--network", "none", "--ip", "10.0.0.1", "host"), "no endpoint"),
        (("--network", "name=a,colour=red", "host"), "'colour'"),
        (("--network", "a", "--network", "a", "host"), "named twice"),
        (("--mount", "type=bind,src=/a", "host"), "has no target"),
        (("--mount", "target=/a,frobnicate", "host"), "'frobnicate' is not known"),
        (("--ulimit", "nofile", "host"), "ulimit 'nofile'"),
        (("--hugetlb-limit", "2MB", "host"), "'2MB' is not of the form"),
        (("--userns", "host", "--uidmap", "0:1:1", "host"), "exclude each other"),
        (("-e", "=x", "host"), "has no name"),
        (("--env-file", "/nonexistent", "host"), "/nonexistent"),
        (("--nmae", "x", "host"), "--nmae"),
        ((), "IMAGE"),
    ],
)
def test_what_is_wrong_is_named(argv: tuple[str, ...], told: str) -> None:
    assert told in refusal(*argv)


def test_subnets_and_what_belongs_to_them() -> None:
    found = pools(["10.1.0.0/16", "fd00::/64"], ["fd00::1", "10.1.0.9"], ["10.1.5.0/24"], {"router": "10.1.0.5"})

    assert found == [
        {
            "Subnet": "10.1.0.0/16",
            "Gateway": "10.1.0.9",
            "IPRange": "10.1.5.0/24",
            "AuxiliaryAddresses": {"router": "10.1.0.5"},
        },
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]
    with pytest.raises(click.UsageError, match="none of the subnets"):
        pools(["10.1.0.0/16"], ["10.2.0.1"], [], {})


def test_templates() -> None:
    value = {"State": {"Running": True, "Pid": 7}, "Names": ["a"], "Nothing": None}

    assert render("{{.State.Pid}} {{ .State.Running }} {{.Names}} {{.Nothing}}", value) == '7 true ["a"] <no value>'
    assert json.loads(render("{{json .State}}", value)) == value["State"]
    assert json.loads(render("{{json .}}", value)) == value
    with pytest.raises(click.UsageError, match="no field Colour"):
        render("{{.Colour}}", value)
    with pytest.raises(click.UsageError, match="are known"):
        render("{{range .Names}}x{{end}}", value)


def test_quantities() -> None:
    assert [Size().convert(text, None, None) for text in ("1", "2k", "3M", "1.5g", "4gb", "5GiB")] == [
        1,
        2048,
        3 << 20,
        3 << 29,
        4 << 30,
        5 << 30,
    ]
    assert [size(count) for count in (0, 1000, 65536, 1 << 30)] == ["0B", "1000B", "64KiB", "1GiB"]
    assert moment("2026-01-01T00:00:00Z") == "2026-01-01T00:00:00Z"
    assert moment(None) == ""
    assert float(moment("0s")) - float(moment("1h30m")) == pytest.approx(5400, abs=1)
