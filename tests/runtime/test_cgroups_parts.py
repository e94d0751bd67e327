"""Reading mountinfo and converting weights: no kernel needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.cgroups import mounts
from runtime.cgroups.devices import DEFAULT_RULES, BadDeviceRule, NotADevice, parsed, rule_of, rules
from runtime.cgroups.v2 import io_weight_of, pressure_of, weight_of
from runtime.kernel.bpf import BLOCK, CHARACTER, MKNOD, READ, WRITE, DeviceRule

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
UNIFIED = r"30 23 0:26 / /mnt/control\040groups rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate" + "\n"


def test_controllers_mounted_together_share_their_mount_point() -> None:
    found = mounts.parse(HYBRID)

    assert found.v1 == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert found.v2 == "/sys/fs/cgroup/unified"


def test_v2_alone_with_a_space_in_its_mount_point() -> None:
    found = mounts.parse(UNIFIED)

    assert found.v1 == {}
    assert found.v2 == "/mnt/control groups"


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 100), (262_144, 10_000), (0, 1), (10**9, 10_000)])
def test_everybodys_shares_are_everybodys_weight(shares: int, weight: int) -> None:
    assert weight_of(shares) == weight


@given(st.integers(2, 262_144), st.integers(2, 262_144))
def test_more_shares_are_never_less_weight(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 1 <= weight_of(low) <= weight_of(high) <= 10_000


def test_a_device_is_allowed_by_its_numbers() -> None:
    assert rule_of("/dev/null") == "c 1:3 rwm"
    assert "c 1:11 rwm" in list(rules(["/dev/kmsg"]))


def test_both_generations_have_the_same_rules() -> None:
    assert parsed("b *:* m") == DeviceRule(BLOCK, None, None, MKNOD)
    assert parsed("c 136:* rwm") == DeviceRule(CHARACTER, 136, None, READ | WRITE | MKNOD)
    assert parsed("c 10:200 r") == DeviceRule(CHARACTER, 10, 200, READ)


@pytest.mark.parametrize("path", ["/etc/passwd", "/missing"])
def test_what_is_no_device_is_refused_by_name(path: str) -> None:
    with pytest.raises(NotADevice, match=path):
        rule_of(path)


@pytest.mark.parametrize(("weight", "v2"), [(10, 1), (1000, 10_000), (500, 4950)])
def test_dockers_io_weights_span_those_of_v2(weight: int, v2: int) -> None:
    assert io_weight_of(weight) == v2


def test_pressure_reads_both_lines() -> None:
    read = pressure_of(
        "some avg10=1.53 avg60=1.20 avg300=0.00 total=2500000\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1000\n"
    )

    assert (read.some_percent, read.full_percent, read.some_s, read.full_s) == (1.53, 0.5, 2.5, 0.001)


def test_rules_and_paths_extend_what_everybody_may_use() -> None:
    extra = [rule for rule in rules(["c 42:* rm", "a 7:1 r", "/dev/kmsg r"]) if rule not in DEFAULT_RULES]

    # The kernel would take "a" for all there is.
    assert extra == ["c 42:* rm", "b 7:1 r", "c 7:1 r", "c 1:11 r"]


@pytest.mark.parametrize("rule", ["c 1:3", "x 1:3 r", "c 1 r", "c 1:3 rx", "c 1:3 rwmr"])
def test_rules_of_another_form_are_refused(rule: str) -> None:
    with pytest.raises(BadDeviceRule):
        list(rules([rule]))
