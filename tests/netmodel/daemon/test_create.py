"""What Docker's clients ask for, as a ContainerConfig: honoured, refused by name, or answered with a warning."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec
import pytest

from netmodel.daemon.wire.create import CreateRequest, HostConfig, read_create
from netmodel.daemon.wire.life import Healthcheck
from netmodel.daemon.wire.mounts import bind
from netmodel.daemon.wire.mountshapes import shape, short, tmpfs_options
from netmodel.errors import Invalid
from netmodel.model import (
    BlkioConfig,
    ContainerConfig,
    DeviceConfig,
    EndpointConfig,
    HealthConfig,
    LogConfig,
    MountConfig,
    PortConfig,
    RestartPolicy,
    VolumeConfig,
)


def read(host: dict[str, Any] | None = None, **body: Any) -> ContainerConfig:
    return read_create(encode(host, **body))[0]


def warnings(host: dict[str, Any] | None = None, **body: Any) -> list[str]:
    return read_create(encode(host, **body))[1]


def encode(host: dict[str, Any] | None, **body: Any) -> bytes:
    return msgspec.json.encode({"Image": "host", "HostConfig": host or {}, **body})


def test_null_is_as_absent_in_every_field() -> None:
    """What Go's clients and docker-compose leave open is often null."""
    host = {field.encode_name: None for field in msgspec.structs.fields(HostConfig)}
    rest = {field.encode_name: None for field in msgspec.structs.fields(CreateRequest)}
    check = {field.encode_name: None for field in msgspec.structs.fields(Healthcheck)}

    config = read(host, **{**rest, "Image": "host", "HostConfig": host})

    assert config == read()
    assert read(Healthcheck={**check, "Test": ["CMD", "true"]}) == read(Healthcheck={"Test": ["CMD", "true"]})


def test_a_name_with_null_for_a_value_counts() -> None:
    config = read(ExposedPorts={"80/tcp": None}, Volumes={"/data": None}, Tty=None)

    assert [port.container_port for port in config.exposed_ports] == [80]
    assert [mount.target for mount in config.mounts] == ["/data"]


def test_null_and_absent_are_the_image_s_own() -> None:
    config = read(Cmd=None, Entrypoint=None, Env=None, Labels=None)

    assert config == ContainerConfig(image="host")


def test_an_empty_entrypoint_does_away_with_the_image_s() -> None:
    assert read(Entrypoint=[""]).entrypoint == ()
    assert read(Cmd="true").command == ("true",)


def test_limits_become_numbers_and_zero_is_none() -> None:
    config = read({"Memory": 64 << 20, "NanoCpus": 1_500_000_000, "PidsLimit": 0, "CpuShares": 512})

    assert (config.memory_bytes, config.cpus, config.pids_limit, config.cpu_shares) == (64 << 20, 1.5, None, 512)
    config = read({"CpuQuota": 50_000, "CpuPeriod": 25_000, "CpusetCpus": "0-1", "MemorySwappiness": 0})
    assert (config.cpus, config.cpu_quota_us, config.cpu_period_us) == (None, 50_000, 25_000)
    assert (config.cpuset_cpus, config.memory_swappiness) == ("0-1", 0)
    config = read({"CpuRealtimeRuntime": 4000, "CpuRealtimePeriod": 50_000})
    assert (config.cpu_rt_runtime_us, config.cpu_rt_period_us) == (4000, 50_000)
    assert read({"BlkioDeviceReadIOps": [{"Path": "/dev/sda", "Rate": 9}]}).blkio == (
        BlkioConfig(kind="read_iops", device="/dev/sda", value=9),
    )


def test_confinement_is_what_was_asked_for() -> None:
    config = read(
        {
            "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "apparmor:web", "label=disable"],
            "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rw"}],
            "DeviceCgroupRules": ["c 42:* rmw"],
            "MaskedPaths": [],
            "OomScoreAdj": 500,
        }
    )

    assert (config.no_new_privileges, config.seccomp, config.apparmor) == (True, "unconfined", "web")
    assert config.devices == (DeviceConfig(source="/dev/fuse", permissions="rw"),)
    assert (config.device_rules, config.masked_paths, config.readonly_paths) == (("c 42:* rmw",), (), None)
    assert config.oom_score_adj == 500


def test_the_mode_s_own_network_comes_first() -> None:
    endpoints = {"b": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}}, "a": None}
    config = read({"NetworkMode": "a"}, NetworkingConfig={"EndpointsConfig": endpoints})

    assert config.network_mode == "bridge"
    assert config.networks == (
        EndpointConfig(network="a"),
        EndpointConfig(network="b", ipv4_address=IPv4Address("10.0.0.2")),
    )


def test_docker_s_word_default_is_the_default_network() -> None:
    settings = {"default": {"IPAMConfig": None, "Aliases": None, "MacAddress": ""}}

    assert read({"NetworkMode": "default"}, NetworkingConfig={"EndpointsConfig": settings}).networks == ()


def test_an_interface_s_name_is_an_option_of_docker_s() -> None:
    settings = {"n": {"DriverOpts": {"com.docker.network.endpoint.ifname": "lan0", "x": "y"}, "GwPriority": 3}}
    (endpoint,) = read({"NetworkMode": "n"}, NetworkingConfig={"EndpointsConfig": settings}).networks

    assert (endpoint.interface_name, dict(endpoint.driver_opts), endpoint.gw_priority) == ("lan0", {"x": "y"}, 3)


@pytest.mark.parametrize("mode", ["host", "none", "container:x"])
def test_modes_without_endpoints(mode: str) -> None:
    assert read({"NetworkMode": mode}).network_mode == mode
    with pytest.raises(Invalid, match="exclude each other"):
        read({"NetworkMode": mode}, NetworkingConfig={"EndpointsConfig": {"other": {}}})


def test_ports() -> None:
    bindings = {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "9000-9005"}],
        "53/udp": None,
    }
    config = read({"PortBindings": bindings, "PublishAllPorts": True}, ExposedPorts={"80/tcp": {}, "90": {}})

    assert config.ports == (
        PortConfig(container_port=80, host_port=8080),
        PortConfig(container_port=80, host_address=IPv6Address("::1"), host_port=9000, host_port_end=9005),
        PortConfig(container_port=53, protocol="udp"),
        PortConfig(container_port=90),
    )


def test_mounts_in_all_their_forms() -> None:
    config = read(
        {
            "Binds": ["/src:/a:ro,rshared", "data:/b:nocopy"],
            "Mounts": [{"Type": "bind", "Source": "/m", "Target": "/c", "ReadOnly": True}],
            "Tmpfs": {"/d": "size=64k,mode=700"},
        },
        Volumes={"/e": {}, "/b": {}},
    )

    assert config.mounts == (
        MountConfig(type="bind", target="/a", source="/src", read_only=True, propagation="rshared", create_source=True),
        MountConfig(type="volume", target="/b", source="data", nocopy=True),
        MountConfig(type="bind", target="/c", source="/m", read_only=True),
        MountConfig(type="tmpfs", target="/d", tmpfs_size_bytes=65536, tmpfs_mode=0o700),
        MountConfig(type="volume", target="/e"),
    )


def test_mounts_that_have_a_long_form_only() -> None:
    bind = {"Type": "bind", "Source": "/s", "ReadOnly": True}
    volume = {
        "Labels": {"of": "x"},
        "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}},
        "Subpath": "db/one",
    }
    declared: list[dict[str, Any]] = [
        {**bind, "Target": "/a", "BindOptions": {"NonRecursive": True, "Propagation": "rslave"}},
        {**bind, "Target": "/b", "BindOptions": {"ReadOnlyNonRecursive": True, "CreateMountpoint": True}},
        {**bind, "Target": "/c", "BindOptions": {"ReadOnlyForceRecursive": True}},
        {"Type": "volume", "Source": "v", "Target": "/d", "VolumeOptions": volume},
        {"Type": "image", "Source": "lab/app", "Target": "/e", "ReadOnly": True, "ImageOptions": {"Subpath": "srv"}},
    ]
    config = read(
        {
            "Mounts": [
                *declared,
                {"Type": "tmpfs", "Target": "/f", "TmpfsOptions": {"Options": [["exec"], ["uid", "5"]]}},
            ]
        }
    )

    made = VolumeConfig(options={"type": "tmpfs"}, labels={"of": "x"})
    assert config.mounts == (
        MountConfig(type="bind", source="/s", target="/a", read_only=True, recursive="disabled", propagation="rslave"),
        MountConfig(type="bind", source="/s", target="/b", read_only=True, recursive="writable", create_source=True),
        MountConfig(type="bind", source="/s", target="/c", read_only=True, recursive="readonly"),
        MountConfig(type="volume", source="v", target="/d", subpath="db/one", volume=made),
        MountConfig(type="image", source="lab/app", target="/e", read_only=True, subpath="srv"),
        MountConfig(type="tmpfs", target="/f", tmpfs_options=("exec", "uid=5")),
    )
    assert [shape(mount) for mount in config.mounts] == [*declared, None]  # what inspect tells creates it again
    assert tmpfs_options(config.mounts[-1]) == "exec,uid=5"


@pytest.mark.parametrize("text", ["/a:/b:ro,z,rshared", "v:/b:nocopy", "/a:/b", "v:/b:ro,nocopy"])
def test_short_forms_come_back_as_they_were(text: str) -> None:
    assert short(bind(text)) == text.replace(",z", "")


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ({"Binds": ["/a:/b:ro,rw"]}, "ro and rw contradict"),
        ({"Binds": ["/a:/b:z,Z"]}, "z and Z contradict"),
        ({"Binds": ["/a:/b:rslave,shared"]}, "rslave and shared contradict"),
        ({"Binds": ["/a:/b:loud"]}, "'loud' is not known"),
        (
            {
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": "/a",
                        "Target": "/b",
                        "BindOptions": {"NonRecursive": True, "ReadOnlyForceRecursive": True},
                    }
                ]
            },
            "disabled and readonly",
        ),
        ({"NanoCpus": 1, "CpuQuota": 5000}, "NanoCpus"),
        ({"RestartPolicy": {"Name": "allways"}}, "allways"),
        ({"StorageOpt": {"size": "lots"}}, "size 'lots' is not a number"),
        ({"StorageOpt": {"inodes": "5"}}, "HostConfig.StorageOpt: inodes is not supported"),
        ({"VolumesFrom": [""]}, "no container is named"),
        ({"VolumesFrom": ["x:loud"]}, "'loud' is not known"),
        ({"VolumesFrom": ["x:ro,nocopy"]}, "nocopy stays as it is there"),
        ({"VolumesFrom": ["x:rslave"]}, "rslave stays as it is there"),
        ({"SecurityOpt": ["nonsense"]}, "nonsense"),
        ({"UsernsMode": "nomap"}, "nomap"),
        ({"Binds": ["a:b"]}, "'a:b'"),
        ({"Binds": ["/a:/b", "/c:/b"]}, "/b"),
        ({"Binds": ["/a:/b/", "/c:/x/../b"]}, "two mounts have the target /b"),
        ({"Binds": ["a:/b:"]}, "'a:/b:' is not of the form"),
        ({"Mounts": [{"Type": "npipe", "Target": "/x"}]}, "npipe"),
        ({"Dns": ["nope"]}, "nope"),
        ({"PortBindings": {"80/icmp": None}}, "icmp"),
        ({"PortBindings": {"80/tcp": [{"HostPort": "70000"}]}}, "70000"),
        ({"ExtraHosts": ["nonsense"]}, "nonsense"),
        ({"Memory": "much"}, "HostConfig"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(host: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        read(host)


def test_what_only_matters_less_is_answered_with_a_warning() -> None:
    (annotations,) = warnings({"Annotations": {"a": "b"}})

    assert "Annotations" in annotations
    assert warnings({"RestartPolicy": {"Name": "no"}, "MemorySwappiness": -1}, Healthcheck={"Test": ["NONE"]}) == []


def test_a_life_is_read() -> None:
    """Docker's times are nanoseconds."""
    config = read(
        {
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}},
            "Init": True,
            "UTSMode": "host",
        },
        Healthcheck={"Test": ["CMD", "true"], "Interval": 1_500_000_000, "Retries": 2},
    )

    assert config.restart == RestartPolicy(name="on-failure", max_retries=3)
    assert config.log == LogConfig(driver="local", options={"max-size": "1m"})
    assert config.health == HealthConfig(test=("CMD", "true"), interval_s=1.5, retries=2)
    assert (config.init, config.uts_mode) == (True, "host")


def test_unknown_keys_are_tolerated_as_docker_does() -> None:
    assert read({"Isolation": "", "NewThing": 1}, OnBuild=None, AttachStdout=True) == ContainerConfig(image="host")


def test_what_is_not_json_says_so() -> None:
    with pytest.raises(Invalid, match="body is wrong"):
        read_create(b"{")
