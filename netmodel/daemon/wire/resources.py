"""Limits as Docker's API has them: in a container's HostConfig, and as the body of an update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from msgspec import field

from netmodel.daemon.wire.decode import Body, refuse
from netmodel.errors import Invalid
from netmodel.model import BlkioConfig, ContainerConfig

_Kind = Literal["weight", "read_bps", "write_bps", "read_iops", "write_iops"]


class WeightDevice(Body):
    path: str
    weight: int


class ThrottleDevice(Body):
    path: str
    rate: int


class HugetlbLimit(Body):
    """As the OCI's runtime specification has it."""

    page_size: str
    limit: int


class Resources(Body):
    """0, "" and null mean: not limited; in an update: left as it is.

    HugetlbLimits is ours, Docker has none.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: list[ThrottleDevice] | None = field(default=None, name="BlkioDeviceWriteIOps")
    hugetlb_limits: list[HugetlbLimit] | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    kernel_memory: int | None = None


def limits(wanted: Resources) -> dict[str, Any]:
    """Those that are set, by the names of ContainerConfig's fields.

    Raises:
        Invalid: One cannot be honoured, or two contradict each other.
    """
    refuse([("HostConfig.KernelMemory", wanted.kernel_memory)])
    if wanted.nano_cpus and (wanted.cpu_quota or wanted.cpu_period):
        raise Invalid("NanoCpus and CpuQuota or CpuPeriod exclude each other")
    found = {
        "memory_bytes": wanted.memory,
        "memory_swap_bytes": wanted.memory_swap,
        "memory_reservation_bytes": wanted.memory_reservation,
        "oom_kill_disable": wanted.oom_kill_disable,
        "cpus": wanted.nano_cpus and wanted.nano_cpus / 1e9,
        "cpu_shares": wanted.cpu_shares,
        "cpu_period_us": wanted.cpu_period,
        "cpu_quota_us": wanted.cpu_quota,
        "cpu_rt_period_us": wanted.cpu_realtime_period,
        "cpu_rt_runtime_us": wanted.cpu_realtime_runtime,
        "cpuset_cpus": wanted.cpuset_cpus,
        "cpuset_mems": wanted.cpuset_mems,
        "pids_limit": wanted.pids_limit,
        "blkio_weight": wanted.blkio_weight,
        "blkio": tuple(_blkio(wanted)),
        "hugetlb_bytes": {one.page_size: one.limit for one in wanted.hugetlb_limits or ()},
    }
    given = {name: value for name, value in found.items() if value}
    if wanted.memory_swappiness is not None and wanted.memory_swappiness != -1:  # 0 is a wish, too
        given["memory_swappiness"] = wanted.memory_swappiness
    return given


def shape(config: ContainerConfig) -> dict[str, Any]:
    """The limits in a container's HostConfig."""
    return {
        "Memory": config.memory_bytes or 0,
        "MemorySwap": config.memory_swap_bytes or 0,
        "MemoryReservation": config.memory_reservation_bytes or 0,
        "MemorySwappiness": config.memory_swappiness,
        "OomKillDisable": config.oom_kill_disable,
        "NanoCpus": round((config.cpus or 0) * 1e9),
        "CpuShares": config.cpu_shares or 0,
        "CpuPeriod": config.cpu_period_us or 0,
        "CpuQuota": config.cpu_quota_us or 0,
        "CpuRealtimePeriod": config.cpu_rt_period_us or 0,
        "CpuRealtimeRuntime": config.cpu_rt_runtime_us or 0,
        "CpusetCpus": config.cpuset_cpus,
        "CpusetMems": config.cpuset_mems,
        "PidsLimit": config.pids_limit,
        "BlkioWeight": config.blkio_weight or 0,
        "BlkioWeightDevice": [
            {"Path": one.device, "Weight": one.value} for one in config.blkio if one.kind == "weight"
        ],
        "HugetlbLimits": [{"PageSize": page, "Limit": most} for page, most in config.hugetlb_bytes.items()],
        "BlkioDeviceReadBps": _throttles(config, "read_bps"),
        "BlkioDeviceWriteBps": _throttles(config, "write_bps"),
        "BlkioDeviceReadIOps": _throttles(config, "read_iops"),
        "BlkioDeviceWriteIOps": _throttles(config, "write_iops"),
    }


def _throttles(config: ContainerConfig, kind: _Kind) -> list[dict[str, Any]]:
    return [{"Path": one.device, "Rate": one.value} for one in config.blkio if one.kind == kind]


def _blkio(wanted: Resources) -> Iterator[BlkioConfig]:
    for one in wanted.blkio_weight_device or ():
        yield BlkioConfig(kind="weight", device=one.path, value=one.weight)
    kinds: tuple[tuple[_Kind, list[ThrottleDevice] | None], ...] = (
        ("read_bps", wanted.blkio_device_read_bps),
        ("write_bps", wanted.blkio_device_write_bps),
        ("read_iops", wanted.blkio_device_read_iops),
        ("write_iops", wanted.blkio_device_write_iops),
    )
    for kind, devices in kinds:
        for device in devices or ():
            yield BlkioConfig(kind=kind, device=device.path, value=device.rate)
