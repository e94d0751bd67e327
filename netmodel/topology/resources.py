"""A service's finer limits: reservations, processors by number, CPU time, block I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from netmodel.model import BlkioConfig
from netmodel.topology import units
from netmodel.topology.keys import BLKIO, BLKIO_RATE, BLKIO_WEIGHT, DEPLOY, RESERVATIONS, RESOURCES
from netmodel.topology.value import Fields, Value

_RATES: tuple[tuple[str, Literal["read_bps", "write_bps", "read_iops", "write_iops"]], ...] = (
    ("device_read_bps", "read_bps"),
    ("device_write_bps", "write_bps"),
    ("device_read_iops", "read_iops"),
    ("device_write_iops", "write_iops"),
)


def read(fields: Fields) -> dict[str, Any]:
    """By the names of ContainerConfig's fields."""
    blkio = fields["blkio_config"].fields(BLKIO) if "blkio_config" in fields else None
    if "cpus" in fields:
        for name in ("cpu_quota", "cpu_period"):
            if name in fields:
                fields[name].error("contradicts cpus", "keep one of the two")
    return {
        "memory_reservation_bytes": _reservation(fields),
        "memory_swappiness": fields.integer("mem_swappiness", 0, 100),
        "oom_kill_disable": fields.flag("oom_kill_disable"),
        "cpu_quota_us": fields.parsed("cpu_quota", _microseconds) or None,
        "cpu_period_us": fields.parsed("cpu_period", _microseconds) or None,
        "cpu_rt_period_us": fields.parsed("cpu_rt_period", _microseconds) or None,
        "cpu_rt_runtime_us": fields.parsed("cpu_rt_runtime", _microseconds) or None,
        "cpuset_cpus": fields.word("cpuset"),
        "blkio_weight": None if blkio is None else blkio.integer("weight", 10, 1000),
        "blkio": () if blkio is None else tuple(_blkio(blkio)),
    }


def _reservation(fields: Fields) -> int | None:
    """In either of the two places Compose has for it."""
    here = fields.parsed("mem_reservation", units.size_bytes)
    deploy = fields["deploy"].fields(DEPLOY) if "deploy" in fields else Fields(fields.section)
    resources = deploy["resources"].fields(RESOURCES) if "resources" in deploy else Fields(fields.section)
    there = None
    if "reservations" in resources:
        there = resources["reservations"].fields(RESERVATIONS).parsed("memory", units.size_bytes)
    return here or there or None


def _microseconds(text: str) -> int:
    """Compose: a number is one of microseconds; a duration says its unit."""
    if text.lstrip("-").isdigit():
        return int(text)
    return round(units.duration_s(text) * 1e6)


def _blkio(fields: Fields) -> Iterator[BlkioConfig]:
    for item in fields.each("weight_device"):
        one = item.fields(BLKIO_WEIGHT)
        weight = one.integer("weight", 10, 1000)
        if (path := _path(item, one)) and weight is not None:
            yield BlkioConfig(kind="weight", device=path, value=weight)
    for name, kind in _RATES:
        for item in fields.each(name):
            one = item.fields(BLKIO_RATE)
            rate = one.parsed("rate", units.size_bytes)
            if (path := _path(item, one)) and rate is not None:
                yield BlkioConfig(kind=kind, device=path, value=rate)


def _path(item: Value, fields: Fields) -> str:
    path = fields.text("path")
    if not path.startswith("/"):
        item.error("path must be that of a block device", "such as /dev/sda")
        return ""
    return path
