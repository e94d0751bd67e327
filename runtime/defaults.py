"""What Docker gives a container that asks for nothing: capabilities, hidden and read-only paths.

Source: moby oci/caps/defaults.go and oci/defaults.go.
"""

from __future__ import annotations

import glob
from functools import cache
from typing import Final

DEFAULT_CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

# Tasks of a container that did not say: more than programs need, fewer than a machine breaks down under.
DEFAULT_PIDS: Final = 4096

DEFAULT_MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

# How often each processor was too hot tells what the neighbours compute.
_PER_PROCESSOR = "/sys/devices/system/cpu/cpu*/thermal_throttle"

DEFAULT_READONLY_PATHS: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


@cache
def default_masked_paths() -> tuple[str, ...]:
    """Those of every machine, and this one's own."""
    return (*DEFAULT_MASKED_PATHS, *sorted(glob.glob(_PER_PROCESSOR)))
