"""The options that limit what a container may use; `run`, `create` and `update` share them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from netmodel.cli.units import Size

F = TypeVar("F", bound=Callable[..., Any])

_RATES = (
    ("device_read_bps", "BlkioDeviceReadBps"),
    ("device_write_bps", "BlkioDeviceWriteBps"),
    ("device_read_iops", "BlkioDeviceReadIOps"),
    ("device_write_iops", "BlkioDeviceWriteIOps"),
)

_LIMITS = (
    click.option("-m", "--memory", type=Size(), default=0, help="Memory limit"),
    click.option("--memory-swap", default="", help="Limit of memory and swap together; -1 is none [twice the memory]"),
    click.option("--memory-reservation", type=Size(), default=0, help="Memory it keeps when memory is short"),
    click.option("--cpus", type=click.FloatRange(min=0), default=0.0, help="Number of processors it may use"),
    click.option("--cpu-period", type=int, default=0, help="Microseconds in which --cpu-quota counts [100000]"),
    click.option("--cpu-quota", type=int, default=0, help="Microseconds of CPU time in each period; -1 is no limit"),
    click.option("--cpu-rt-period", type=int, default=0, help="Microseconds in which the next one counts [1000000]"),
    click.option("--cpu-rt-runtime", type=int, default=0, help="Microseconds of each for real-time tasks"),
    click.option("-c", "--cpu-shares", type=int, default=0, help="Weight against others (1024 is everybody's)"),
    click.option("--cpuset-cpus", default="", help="Processors it may run on: 0-2,7"),
    click.option("--cpuset-mems", default="", help="Memory nodes it may use: 0,1"),
    click.option("--pids-limit", type=int, default=0, help="Number of processes and threads; -1 is no limit"),
    click.option("--blkio-weight", type=int, default=0, help="Weight of its block I/O, 10 to 1000"),
    click.option("--hugetlb-limit", multiple=True, help="Most bytes in huge pages of a size: 2MB=64m"),
)
_LIMITS_AT_CREATION = (
    click.option("--memory-swappiness", type=int, default=-1, help="How readily it is swapped out, 0 to 100"),
    click.option("--oom-kill-disable", is_flag=True, help="Let it wait when it is out of memory, not be killed"),
    click.option("--blkio-weight-device", multiple=True, help="Weight on one disk: DEVICE:WEIGHT"),
    click.option("--device-read-bps", multiple=True, help="Most bytes a second from a disk: DEVICE:SIZE"),
    click.option("--device-write-bps", multiple=True, help="Most bytes a second to a disk: DEVICE:SIZE"),
    click.option("--device-read-iops", multiple=True, help="Most reads a second from a disk: DEVICE:NUMBER"),
    click.option("--device-write-iops", multiple=True, help="Most writes a second to a disk: DEVICE:NUMBER"),
)


def limit_options(function: F) -> F:
    """Those that can be changed later."""
    for option in reversed(_LIMITS):
        function = option(function)
    return function


def limit_options_at_creation(function: F) -> F:
    for option in reversed((*_LIMITS, *_LIMITS_AT_CREATION)):
        function = option(function)
    return function


def limits_body(o: dict[str, Any]) -> dict[str, Any]:
    """Their part of a HostConfig, or the body of an update: what was not asked for is left out.

    Args:
        o: The options' values by name.
    """
    body = {
        "Memory": o["memory"],
        "MemorySwap": _swap(o["memory_swap"]),
        "MemoryReservation": o["memory_reservation"],
        "NanoCpus": round(o["cpus"] * 1e9),
        "CpuPeriod": o["cpu_period"],
        "CpuQuota": o["cpu_quota"],
        "CpuRealtimePeriod": o["cpu_rt_period"],
        "CpuRealtimeRuntime": o["cpu_rt_runtime"],
        "CpuShares": o["cpu_shares"],
        "CpusetCpus": o["cpuset_cpus"],
        "CpusetMems": o["cpuset_mems"],
        "PidsLimit": o["pids_limit"],
        "BlkioWeight": o["blkio_weight"],
        "HugetlbLimits": [_huge(text) for text in o["hugetlb_limit"]],
        "OomKillDisable": o.get("oom_kill_disable"),
        "BlkioWeightDevice": [
            {"Path": path, "Weight": weight} for path, weight in map(_on_device, o.get("blkio_weight_device", ()))
        ],
    }
    for option, key in _RATES:
        body[key] = [{"Path": path, "Rate": rate} for path, rate in map(_on_device, o.get(option, ()))]
    wanted = {key: value for key, value in body.items() if value}
    if o.get("memory_swappiness", -1) != -1:  # 0 is a wish, too
        wanted["MemorySwappiness"] = o["memory_swappiness"]
    return wanted


def _huge(text: str) -> dict[str, Any]:
    page, _, most = text.partition("=")
    if not page or not most:
        raise click.UsageError(f"{text!r} is not of the form PAGE-SIZE=BYTES, such as 2MB=64m")
    return {"PageSize": page, "Limit": Size().convert(most, None, None)}


def _swap(text: str) -> int:
    if text in ("", "-1"):
        return -1 if text else 0
    return Size().convert(text, None, None)


def _on_device(text: str) -> tuple[str, int]:
    path, colon, value = text.rpartition(":")
    if not colon or not path.startswith("/"):
        raise click.UsageError(f"{text!r} is not of the form DEVICE:VALUE, such as /dev/sda:1m")
    return path, Size().convert(value, None, None)
