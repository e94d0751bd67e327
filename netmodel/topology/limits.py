"""What a service may use: memory, processors, processes, file limits, capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from netmodel.model import UlimitConfig
from netmodel.topology import units
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.keys import DEPLOY, LIMITS, RESOURCES, ULIMIT, words
from netmodel.topology.value import Fields, Value

T = TypeVar("T", int, float)
# Source: setrlimit(2).
ULIMITS = words(
    """
    as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
    """
)
# Source: capabilities(7).
CAPABILITIES = words(
    """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
    FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
    NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
    SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
    """
)


@dataclass(frozen=True, slots=True)
class Limits:
    memory_bytes: int | None
    memory_swap_bytes: int | None
    cpus: float | None
    cpu_shares: int | None
    pids_limit: int | None
    replicas: int


def read(fields: Fields) -> Limits:
    """Read the limits of a service, in either of the two places Compose has for them."""
    deploy = fields["deploy"].fields(DEPLOY) if "deploy" in fields else Fields(fields.section)
    resources = deploy["resources"].fields(RESOURCES) if "resources" in deploy else Fields(fields.section)
    limits = resources["limits"].fields(LIMITS) if "limits" in resources else Fields(fields.section)
    memory = _one(fields, "mem_limit", fields.parsed("mem_limit", units.size_bytes), limits, "memory", _memory(limits))
    cpus = _one(fields, "cpus", _cpus(fields), limits, "cpus", _cpus(limits))
    pids = _one(fields, "pids_limit", fields.integer("pids_limit", -1), limits, "pids", limits.integer("pids", -1))
    replicas = _one(fields, "scale", fields.integer("scale", 0), deploy, "replicas", deploy.integer("replicas", 0))
    return Limits(
        memory_bytes=memory or None,
        memory_swap_bytes=fields.parsed("memswap_limit", _swap),
        cpus=cpus or None,
        cpu_shares=fields.integer("cpu_shares", 0) or None,
        pids_limit=pids or None,
        replicas=1 if replicas is None else replicas,
    )


def _one(near: Fields, key: str, here: T | None, far: Fields, other: str, there: T | None) -> T | None:
    """The value of two places that mean the same; they may not contradict each other."""
    if here is not None and there is not None and here != there:
        near[key].error(f"contradicts {far[other].key}", "keep one of the two")
    return there if here is None else here


def _memory(limits: Fields) -> int | None:
    return limits.parsed("memory", units.size_bytes)


def _cpus(fields: Fields) -> float | None:
    cpus = fields.number("cpus")
    if cpus is not None and cpus < 0:
        fields["cpus"].error(f"must be positive, not {cpus:g}")
        return None
    return cpus


def _swap(text: str) -> int:
    return -1 if text == "-1" else units.size_bytes(text)


def ulimits(fields: Fields) -> tuple[UlimitConfig, ...]:
    if "ulimits" not in fields:
        return ()
    found: list[UlimitConfig] = []
    for name, value in fields["ulimits"].pairs().items():
        if name not in ULIMITS:
            value.error_at_key(f'unknown limit "{name}"', did_you_mean(name, ULIMITS))
            continue
        soft, hard = _ulimit(value)
        if soft is None or hard is None:
            continue
        if hard != -1 and (soft == -1 or soft > hard):
            value.error(f"soft {soft} is above hard {hard}")
            continue
        found.append(UlimitConfig(name=name, soft=soft, hard=hard))
    return tuple(found)


def _ulimit(value: Value) -> tuple[int | None, int | None]:
    if not value.is_mapping:
        number = value.integer(-1)
        return number, number
    fields = value.fields(ULIMIT)
    for name in ("soft", "hard"):
        if name not in fields:
            value.error_at_key(f"lacks {name}")
    return fields.integer("soft", -1), fields.integer("hard", -1)


def capabilities(fields: Fields, name: str) -> tuple[str, ...]:
    """Read cap_add or cap_drop: names as in capabilities(7), with or without CAP_, or ALL."""
    found = []
    for item in fields.each(name):
        text = item.text()
        if text is None:
            continue
        capability = text.upper().removeprefix("CAP_")
        if capability != "ALL" and capability not in CAPABILITIES:
            item.error(f'unknown capability "{text}"', did_you_mean(capability, CAPABILITIES))
            continue
        found.append(capability)
    return tuple(found)
