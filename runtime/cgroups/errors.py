"""What control groups refuse."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.errors import RuntimeFault


class LimitUnavailable(RuntimeFault):
    """A limit was asked for that this machine cannot give."""

    kind = "missing_feature"
    hint = "run without this limit, or see `netmodel doctor` for what the machine lacks"

    def __init__(self, limit: str, why: str) -> None:
        super().__init__(f"the limit {limit} cannot be given: {why}")
        self.limit = limit


class LimitRefused(RuntimeFault):
    """The kernel does not accept a limit's value."""

    kind = "invalid"

    def __init__(self, limit: str, value: object, why: str) -> None:
        super().__init__(f"the kernel refuses {value} as {limit}: {why}")
        self.limit = limit


class CgroupBusy(RuntimeFault):
    """A group still has processes, so it cannot be deleted."""

    kind = "conflict"
    hint = "stop the processes first"

    def __init__(self, name: str, pids: Sequence[int]) -> None:
        listed = ", ".join(str(pid) for pid in pids[:5]) + (", ..." if len(pids) > 5 else "")
        super().__init__(f"control group {name} is still in use" + (f" by process {listed}" if pids else ""))
        self.pids = tuple(pids)


class CgroupMissing(RuntimeFault):
    """No such group."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no control group {name}")


class FreezeFailed(RuntimeFault):
    """Not every process stood still, or moved again, in time."""

    kind = "unavailable"
    hint = "a process that waits for a disk or a network file system can be frozen only afterwards; try again"

    def __init__(self, name: str, wanted: str) -> None:
        super().__init__(f"control group {name} did not become {wanted} in time")


class NoCgroups(RuntimeFault):
    """The machine has no control groups mounted."""

    kind = "missing_feature"
    hint = "mount them: mount -t cgroup2 none /sys/fs/cgroup"

    def __init__(self) -> None:
        super().__init__("no cgroup file system is mounted on this machine")
