"""What both generations of control groups have in common: the two classes and their values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from runtime.cgroups.oom import OomWatch
from runtime.cgroups.realtime import Time
from runtime.spec import Resources

Feature = Literal[
    "memory", "swap", "swappiness", "oom_disable", "cpu", "cpuset", "pids", "freeze", "devices", "io", "io_weight",
    "hugetlb", "kill", "pressure", "realtime",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """Which part of the last ten seconds, in percent, somebody waited for a resource, and all did; total in s."""

    some_percent: float
    full_percent: float
    some_s: float
    full_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a container used up to now; None where no controller counts it.

    Args:
        memory_bytes: In use, with the page cache; memory_cache_bytes and memory_inactive_file_bytes are parts of it.
        memory_limit_bytes: None is no limit.
        pids_limit: None is no limit.
        oom_kills: How many of its processes the kernel killed for want of memory.
        pressure: By resource, "cpu", "memory" and "io"; empty where the kernel counts none.
    """

    cpu_total_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled_ns: int = 0
    memory_bytes: int | None = None
    memory_max_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_cache_bytes: int = 0
    memory_rss_bytes: int = 0
    memory_inactive_file_bytes: int = 0
    pids: int | None = None
    pids_limit: int | None = None
    io_read_bytes: int = 0
    io_write_bytes: int = 0
    oom_kills: int = 0
    pressure: Mapping[str, Pressure] = field(default_factory=dict)


class Cgroup(ABC):
    """The group of one container, in as many directories as the machine has hierarchies for it."""

    name: str
    directories: tuple[str, ...]

    @abstractmethod
    def update(self, resources: Resources) -> None:
        """Set the limits that are not None; the others stay.

        Raises:
            LimitUnavailable: No controller for it, or not for a group that was made without it.
            LimitRefused: The kernel does not take the value.
        """

    @abstractmethod
    def stats(self) -> Stats: ...

    @abstractmethod
    def freeze(self) -> None:
        """Stop every process where it stands; returns when they do."""

    @abstractmethod
    def thaw(self) -> None:
        """Let them go on."""

    @abstractmethod
    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for want of memory."""

    @abstractmethod
    def watch_oom(self) -> OomWatch | None:
        """What tells that it is out of memory; None where memory is not limited. The caller closes it."""

    @abstractmethod
    def processes(self) -> list[int]:
        """Process ids as the caller's PID namespace numbers them, groups below included."""

    @abstractmethod
    def kill(self) -> None:
        """Send SIGKILL to every process, those that are just being born included."""

    @abstractmethod
    def delete(self, timeout_s: float = 2.0) -> None:
        """Remove the group and what its processes made below it; one that is gone is no error.

        Raises:
            CgroupBusy: Processes were still there when the time was over.
        """


class Cgroups(ABC):
    """The groups of one engine: all below one directory, its prefix, in each hierarchy."""

    version: Literal["v1", "v2"]
    prefix: str

    @staticmethod
    def detect(prefix: str, realtime: Time | None = None) -> Cgroups:
        """Choose what this machine offers: v1's controllers wherever they are mounted, else v2.

        Args:
            realtime: What the groups share for real-time tasks, instead of what they need; of v1 alone.

        Raises:
            NoCgroups: Neither is mounted.
        """
        from runtime.cgroups.detect import detect

        return detect(prefix, realtime)

    @abstractmethod
    def create(
        self, name: str, resources: Resources, *, privileged: bool = False, devices: Sequence[str] = ()
    ) -> Cgroup:
        """Make a group with its limits, or nothing at all. What a dead container left under the name goes first.

        Args:
            privileged: Every device may be used; otherwise the usual harmless ones and `devices`.
            devices: Further device nodes of the host, by path ("/dev/fuse rw"), or rules ("c 10:229 rw").

        Raises:
            LimitUnavailable, LimitRefused: See update().
            CgroupBusy: The name is taken by living processes.
        """

    @abstractmethod
    def open(self, name: str) -> Cgroup:
        """The group made before.

        Raises:
            CgroupMissing: It is nowhere.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """Every group below the prefix."""

    @abstractmethod
    def remove_root(self) -> None:
        """Remove the prefix itself; harmless when it is gone.

        Raises:
            CgroupBusy: Groups are left in it.
        """

    @abstractmethod
    def supports(self, feature: Feature) -> bool:
        """Whether a group made here has it. Limits of memory, CPU and tasks are "memory", "swap", "cpu", "pids"."""
