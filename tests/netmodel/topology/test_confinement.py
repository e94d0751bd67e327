"""Security options, devices and the finer limits of a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.model import BlkioConfig, DeviceConfig
from tests.netmodel.topology.support import config, mistakes


def test_security_options_carry_the_profile_itself(tmp_path: Path) -> None:
    """The engine does not run where the file lies."""
    (tmp_path / "profile.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}\n')

    read = config(
        tmp_path,
        """
        security_opt: [no-new-privileges:true, "seccomp:./profile.json", apparmor=web]
        oom_score_adj: 300
        """,
    )

    assert (read.no_new_privileges, read.apparmor, read.oom_score_adj) == (True, "web", 300)
    assert read.seccomp == '{"defaultAction":"SCMP_ACT_ALLOW"}'
    assert config(tmp_path, "security_opt: [seccomp=unconfined]").seccomp == "unconfined"


def test_devices_short_and_long(tmp_path: Path) -> None:
    read = config(
        tmp_path,
        """
        devices:
          - /dev/net/tun
          - /dev/sda:/dev/xvda:r
          - /dev/fuse:rw
          - {source: /dev/kvm, permissions: rw}
        device_cgroup_rules: ["c 42:* rmw"]
        """,
    )

    assert read.devices == (
        DeviceConfig(source="/dev/net/tun"),
        DeviceConfig(source="/dev/sda", target="/dev/xvda", permissions="r"),
        DeviceConfig(source="/dev/fuse", permissions="rw"),
        DeviceConfig(source="/dev/kvm", permissions="rw"),
    )
    assert read.device_rules == ("c 42:* rmw",)


def test_devices_by_their_vendors_names(tmp_path: Path) -> None:
    read = config(
        tmp_path,
        """
        devices: [acme.com/card=a, /dev/fuse, {source: acme.com/card=b}]
        deploy:
          resources:
            reservations:
              devices:
                - {driver: cdi, device_ids: [acme.com/card=c], capabilities: [card]}
        """,
    )

    assert read.cdi_devices == ("acme.com/card=a", "acme.com/card=b", "acme.com/card=c")
    assert read.devices == (DeviceConfig(source="/dev/fuse"),)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ("gpus: all", ["nvidia.com/gpu=all"]),
        ("gpus: [{driver: amd, count: 2}]", ["amd.com/gpu=0", "amd.com/gpu=1"]),
        ("gpus: [{device_ids: ['3'], capabilities: [gpu, utility]}]", ["nvidia.com/gpu=3"]),
        (
            "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}",
            ["nvidia.com/gpu=all"],
        ),
        ("deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}", ["nvidia.com/gpu=all"]),
    ],
)
def test_gpus_have_such_names(tmp_path: Path, keys: str, names: list[str]) -> None:
    assert config(tmp_path, keys).cdi_devices == tuple(names)


def test_limits_of_every_kind(tmp_path: Path) -> None:
    read = config(
        tmp_path,
        """
        mem_reservation: 32m
        mem_swappiness: 0
        oom_kill_disable: true
        cpu_quota: 20ms
        cpu_rt_runtime: 4ms
        cpu_rt_period: 50000
        cpu_period: 100000
        cpuset: 0,1
        blkio_config:
          weight: 300
          weight_device: [{path: /dev/sda, weight: 400}]
          device_read_bps: [{path: /dev/sdb, rate: 12mb}]
          device_write_iops: [{path: /dev/sdb, rate: 30}]
        """,
    )

    assert (read.memory_reservation_bytes, read.memory_swappiness, read.oom_kill_disable) == (32 << 20, 0, True)
    assert (read.cpu_quota_us, read.cpu_period_us, read.cpuset_cpus) == (20_000, 100_000, "0,1")
    assert (read.cpu_rt_runtime_us, read.cpu_rt_period_us) == (4000, 50_000)
    assert read.blkio_weight == 300
    assert read.blkio == (
        BlkioConfig(kind="weight", device="/dev/sda", value=400),
        BlkioConfig(kind="read_bps", device="/dev/sdb", value=12 << 20),
        BlkioConfig(kind="write_iops", device="/dev/sdb", value=30),
    )
    deploy = "deploy: {resources: {reservations: {memory: 16m}}}"
    assert config(tmp_path, deploy).memory_reservation_bytes == 16 << 20


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("security_opt: [seccomp:./none.json]", "No such file"),
        ("security_opt: [nonsense]", "'nonsense' is not supported"),
        ("devices: [dev/kvm]", "is neither PATH"),
        ("blkio_config: {weight: 5}", "between 10 and 1000"),
        ("blkio_config: {device_read_bps: [{path: sda, rate: 1m}]}", "block device"),
        ("gpus: some", "is neither all nor a list"),
        ("gpus: [{count: few}]", "is neither all nor a number"),
        ("gpus: [{count: 1, device_ids: ['0']}]", "both a count and ids"),
        ("gpus: [{driver: acme}]", "devices of driver acme that can gpu cannot be had"),
        ("cpus: 1\n    cpu_quota: 5000", "contradicts cpus"),
        ("mem_swappiness: 101", "between 0 and 100"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, line: str, message: str) -> None:
    (found,) = mistakes(tmp_path, f"services:\n  web:\n    image: host\n    {line}\n")

    assert message in found.message
