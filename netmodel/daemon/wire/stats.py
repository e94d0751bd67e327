"""A container's use of resources in Docker's JSON."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime
from typing import Any

from netmodel.daemon.wire.encode import ZERO_TIME, moment
from netmodel.model import Container

Reading = tuple[Any, float]  # runtime.cgroups' Stats, and when (s)


def shape(container: Container, first: Reading | None, last: Reading | None) -> dict[str, Any]:
    """One answer of `GET /containers/{id}/stats`.

    Args:
        first: A reading before the last one, for rates.
        last: None when the container does not run.
    """
    answer: dict[str, Any] = {
        "id": container.id,
        "name": "/" + container.name,
        "read": moment(datetime.now(UTC)) if last else ZERO_TIME,
        "preread": moment(datetime.now(UTC)) if first else ZERO_TIME,
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": {},
        "blkio_stats": {"io_service_bytes_recursive": None},
        "cpu_stats": _cpu(None),
        "precpu_stats": _cpu(first),
        "memory_stats": {},
        "networks": {},
    }
    if last is None:
        return answer
    used, _ = last
    answer["cpu_stats"] = _cpu(last)
    answer["pids_stats"] = {"current": used.pids or 0, **({"limit": used.pids_limit} if used.pids_limit else {})}
    answer["memory_stats"] = {
        "usage": used.memory_bytes or 0,
        "max_usage": used.memory_max_bytes or 0,
        "limit": used.memory_limit_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "stats": {
            "cache": used.memory_cache_bytes,
            "rss": used.memory_rss_bytes,
            "inactive_file": used.memory_inactive_file_bytes,
            "total_inactive_file": used.memory_inactive_file_bytes,
        },
    }
    answer["blkio_stats"]["io_service_bytes_recursive"] = [
        {"major": 0, "minor": 0, "op": "read", "value": used.io_read_bytes},
        {"major": 0, "minor": 0, "op": "write", "value": used.io_write_bytes},
    ]
    answer["networks"] = _links(container.state.pid)
    answer["netmodel"] = {"oom_kills": used.oom_kills, "pressure": dataclasses.asdict(used)["pressure"]}
    return answer


def _cpu(reading: Reading | None) -> dict[str, Any]:
    cpus = os.cpu_count() or 1
    used, at_s = reading or (None, 0.0)
    return {
        "cpu_usage": {
            "total_usage": used.cpu_total_ns if used else 0,
            "usage_in_kernelmode": used.cpu_system_ns if used else 0,
            "usage_in_usermode": used.cpu_user_ns if used else 0,
        },
        # Time that all processors together had: what a share is a share of.
        "system_cpu_usage": int(at_s * cpus * 1e9),
        "online_cpus": cpus,
        "throttling_data": {
            "periods": used.cpu_periods if used else 0,
            "throttled_periods": used.cpu_throttled_periods if used else 0,
            "throttled_time": used.cpu_throttled_ns if used else 0,
        },
    }


def _links(pid: int) -> dict[str, dict[str, int]]:
    """Counters of each link in the container's network namespace (man 5 proc, /proc/PID/net/dev)."""
    try:
        with open(f"/proc/{pid}/net/dev") as file:
            lines = file.readlines()[2:]
    except OSError:  # it ended just now
        return {}
    found = {}
    for line in lines:
        name, _, counters = line.partition(":")
        fields = list(map(int, counters.split()))
        if name.strip() != "lo":
            found[name.strip()] = {
                "rx_bytes": fields[0],
                "rx_packets": fields[1],
                "rx_errors": fields[2],
                "rx_dropped": fields[3],
                "tx_bytes": fields[8],
                "tx_packets": fields[9],
                "tx_errors": fields[10],
                "tx_dropped": fields[11],
            }
    return found
