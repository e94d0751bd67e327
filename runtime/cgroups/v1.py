"""Control groups of the first generation: one directory a controller, each in a hierarchy of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

from runtime.cgroups import devices as device_rules
from runtime.cgroups import files, realtime
from runtime.cgroups.api import Cgroup, Cgroups, Feature, Stats
from runtime.cgroups.blocks import block_device
from runtime.cgroups.errors import CgroupBusy, CgroupMissing, FreezeFailed, LimitRefused, LimitUnavailable
from runtime.cgroups.oom import Notified, OomWatch
from runtime.cgroups.realtime import Budget, Time
from runtime.spec import Resources

# What an unlimited memory group reports: the largest number of whole pages that a signed 64-bit integer holds.
_NO_MEMORY_LIMIT = 1 << 62
_FREEZE_TIMEOUT_S = 2.0
# A container is in these hierarchies only if it has a limit there: each costs every start and every end.
_ON_DEMAND = ("cpuset", "hugetlb")
_IO_FILES = {
    "weight": "blkio.bfq.weight_device",
    "read_bps": "blkio.throttle.read_bps_device",
    "write_bps": "blkio.throttle.write_bps_device",
    "read_iops": "blkio.throttle.read_iops_device",
    "write_iops": "blkio.throttle.write_iops_device",
}


class CgroupV1(Cgroup):
    """See Cgroup. Knows its directory in each hierarchy by the controller's name."""

    def __init__(
        self, name: str, directory_of: Mapping[str, str], left_out: Collection[str] = (), realtime: Budget | None = None
    ) -> None:
        self.name = name
        self._realtime = realtime
        self._directory_of = directory_of
        self.directories = tuple(dict.fromkeys(path for one, path in directory_of.items() if one not in left_out))
        self.cpuset = directory_of.get("cpuset")
        self.cpu = directory_of.get("cpu", "")

    def update(self, resources: Resources) -> None:
        self._limit_memory(resources)
        # The period first: a quota is judged against it.
        self._set("cpu", "cpu.cfs_period_us", "cpu_period_us", resources.cpu_period_us)
        self._set("cpu", "cpu.cfs_quota_us", "cpu_quota_us", resources.cpu_quota_us)
        self._set("cpu", "cpu.shares", "cpu_weight", resources.cpu_weight)
        pids = resources.pids_max
        self._set("pids", "pids.max", "pids_max", "max" if pids == -1 else pids)
        self._set("cpuset", "cpuset.cpus", "cpuset_cpus", resources.cpuset_cpus)
        self._set("cpuset", "cpuset.mems", "cpuset_mems", resources.cpuset_mems)
        self._set("blkio", "blkio.bfq.weight", "io_weight", resources.io_weight)
        for limit in resources.io_limits:
            self._set("blkio", _IO_FILES[limit.kind], f"io {limit.kind}", f"{block_device(limit.device)} {limit.value}")
        for size, most in resources.hugetlb_bytes:
            self._set("hugetlb", f"hugetlb.{size}.limit_in_bytes", "hugetlb", most)
        if resources.cpu_rt_runtime_us is not None or resources.cpu_rt_period_us is not None:
            self._limit_realtime(resources.cpu_rt_runtime_us, resources.cpu_rt_period_us)

    def stats(self) -> Stats:
        memory = self._file("memory", "memory.stat")
        in_memory = files.read_table(memory) if memory else {}
        throttling = files.read_table(path) if (path := self._file("cpu", "cpu.stat")) else {}
        read_bytes, write_bytes = self._io()
        limit = self._number("memory", "memory.limit_in_bytes")
        return Stats(
            cpu_total_ns=self._number("cpuacct", "cpuacct.usage") or 0,
            cpu_user_ns=self._number("cpuacct", "cpuacct.usage_user") or 0,
            cpu_system_ns=self._number("cpuacct", "cpuacct.usage_sys") or 0,
            cpu_periods=throttling.get("nr_periods", 0),
            cpu_throttled_periods=throttling.get("nr_throttled", 0),
            cpu_throttled_ns=throttling.get("throttled_time", 0),
            memory_bytes=self._number("memory", "memory.usage_in_bytes"),
            memory_max_bytes=self._number("memory", "memory.max_usage_in_bytes"),
            memory_limit_bytes=None if limit is None or limit >= _NO_MEMORY_LIMIT else limit,
            memory_cache_bytes=in_memory.get("total_cache", 0),
            memory_rss_bytes=in_memory.get("total_rss", 0),
            memory_inactive_file_bytes=in_memory.get("total_inactive_file", 0),
            pids=self._number("pids", "pids.current"),
            pids_limit=self._number("pids", "pids.max"),
            io_read_bytes=read_bytes,
            io_write_bytes=write_bytes,
            oom_kills=self.oom_kills(),
        )

    def freeze(self) -> None:
        if not self._settle("FROZEN"):
            # Half of them standing still would be worse than none.
            with contextlib.suppress(FreezeFailed):
                self.thaw()
            raise FreezeFailed(self.name, "frozen")

    def thaw(self) -> None:
        if not self._settle("THAWED"):
            raise FreezeFailed(self.name, "thawed")

    def oom_kills(self) -> int:
        path = self._file("memory", "memory.oom_control")
        return files.read_table(path).get("oom_kill", 0) if path else 0

    def watch_oom(self) -> OomWatch | None:
        directory = self._directory_of.get("memory")
        return None if directory is None else Notified(directory)

    def processes(self) -> list[int]:
        # Each hierarchy has its own membership; a process may be missing from one while it is being placed.
        pids: set[int] = set()
        for directory in self.directories:
            pids.update(files.processes(directory))
        return sorted(pids)

    def kill(self) -> None:
        # Frozen, none can fork away between the listing and its signal; they die when they thaw.
        # Half deleted, it may have no freezer any more.
        with contextlib.suppress(FreezeFailed, LimitUnavailable, FileNotFoundError):
            self.freeze()
        try:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            with contextlib.suppress(FreezeFailed, LimitUnavailable, FileNotFoundError):
                self.thaw()

    def delete(self, timeout_s: float = 2.0) -> None:
        left = list(self.directories)

        def gone() -> bool:
            if self._realtime is not None:
                self._realtime.take(self.cpu)
            left[:] = [directory for directory in left if not files.remove(directory)]
            return not left

        # v1 tells nobody when a group empties, so we look again; usually the first look is enough.
        if not files.until(gone, timeout_s):
            raise CgroupBusy(self.name, self.processes())

    def allow_devices(self, rules: Sequence[str]) -> None:
        """Forbid every device, then allow these."""
        directory = self._directory_of["devices"]
        files.write(f"{directory}/devices.deny", "a")
        allow = os.open(f"{directory}/devices.allow", os.O_WRONLY | os.O_CLOEXEC)
        try:
            for rule in rules:
                os.write(allow, rule.encode())
        finally:
            os.close(allow)

    def _limit_memory(self, resources: Resources) -> None:
        limits = [
            ("memory.limit_in_bytes", "memory_bytes", resources.memory_bytes),
            ("memory.memsw.limit_in_bytes", "memory_swap_bytes", resources.memory_swap_bytes),
        ]
        # Memory alone may never exceed memory and swap, not even for a moment: raising starts with the sum.
        sum_now = self._number("memory", "memory.memsw.limit_in_bytes")
        if sum_now is not None and resources.memory_bytes is not None and resources.memory_bytes > sum_now:
            limits.reverse()
        for filename, limit, value in limits:
            self._set("memory", filename, limit, value)
        reservation = resources.memory_reservation_bytes
        self._set("memory", "memory.soft_limit_in_bytes", "memory_reservation_bytes", reservation)
        self._set("memory", "memory.swappiness", "memory_swappiness", resources.memory_swappiness)
        if resources.oom_kill_disable is not None:
            self._set("memory", "memory.oom_control", "oom_kill_disable", int(resources.oom_kill_disable))

    def _limit_realtime(self, runtime_us: int | None, period_us: int | None) -> None:
        if self._realtime is None:
            raise LimitUnavailable(realtime.LIMIT, "the cpu controller is not mounted")
        self._realtime.give(self.cpu, runtime_us, period_us)

    def _set(self, controller: str, filename: str, limit: str, value: int | str | None) -> None:
        if value is None:
            return
        path = self._file(controller, filename)
        if path is None:
            raise LimitUnavailable(limit, f"the {controller} controller is not mounted")
        if controller in _ON_DEMAND and not os.path.exists(os.path.dirname(path)):
            raise LimitUnavailable(limit, f"the container was started without a {controller} group; stop it first")
        try:
            files.write(path, str(value))
        except FileNotFoundError:
            raise LimitUnavailable(limit, f"the kernel has no {filename}") from None
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ERANGE, errno.EBUSY):
                raise
            raise LimitRefused(limit, value, os.strerror(error.errno).lower()) from error

    def _settle(self, state: Literal["FROZEN", "THAWED"]) -> bool:
        path = self._file("freezer", "freezer.state")
        if path is None:
            raise LimitUnavailable("pause", "the freezer controller is not mounted")

        def settled() -> bool:
            # Written again each time: a child born meanwhile would otherwise keep it FREEZING for good.
            files.write(path, state)
            return files.read(path).strip() == state

        return files.until(settled, _FREEZE_TIMEOUT_S)

    def _io(self) -> tuple[int, int]:
        path = self._file("blkio", "blkio.throttle.io_service_bytes_recursive")
        if path is None:
            return 0, 0
        totals = {"Read": 0, "Write": 0}
        with contextlib.suppress(FileNotFoundError):
            for line in files.read(path).splitlines():
                match line.split():  # "254:0 Read 4096"
                    case [_, ("Read" | "Write") as direction, count]:
                        totals[direction] += int(count)
        return totals["Read"], totals["Write"]

    def _file(self, controller: str, filename: str) -> str | None:
        directory = self._directory_of.get(controller)
        return f"{directory}/{filename}" if directory else None

    def _number(self, controller: str, filename: str) -> int | None:
        """None where there is no such file, or it says "max"."""
        path = self._file(controller, filename)
        if path is None:
            return None
        try:
            text = files.read(path).strip()
        except FileNotFoundError:
            return None
        return None if text == "max" else int(text)


class CgroupsV1(Cgroups):
    """See Cgroups."""

    version = "v1"

    def __init__(self, mounts: Mapping[str, str], prefix: str, chosen: Time | None = None) -> None:
        self.prefix = files.check_name(prefix)
        self._root_of = {controller: f"{point}/{prefix}" for controller, point in mounts.items()}
        # Mounted together with another it is there anyway.
        self._demanded = {
            controller: root
            for controller in _ON_DEMAND
            if (root := self._root_of.get(controller)) and list(self._root_of.values()).count(root) == 1
        }
        self._realtime = Budget(self._root_of["cpu"], chosen) if "cpu" in self._root_of else None
        self._roots = tuple(dict.fromkeys(self._root_of.values()))

    def create(
        self, name: str, resources: Resources, *, privileged: bool = False, devices: Sequence[str] = ()
    ) -> CgroupV1:
        cgroup = self._cgroup(name, _demands(resources))
        rules = () if privileged else tuple(device_rules.rules(devices))
        with ExitStack() as undo:
            for directory in cgroup.directories:
                self._make(os.path.dirname(directory), directory)
                undo.callback(files.remove, directory)
                if directory == cgroup.cpuset:
                    _inherit_cpuset(os.path.dirname(directory), directory)
            if self._realtime is not None:
                undo.callback(self._realtime.take, cgroup.cpu)
            cgroup.update(resources)
            if rules and "devices" in self._root_of:
                cgroup.allow_devices(rules)
            undo.pop_all()
        return cgroup

    def open(self, name: str) -> CgroupV1:
        made = [controller for controller, root in self._demanded.items() if os.path.isdir(f"{root}/{name}")]
        cgroup = self._cgroup(name, made)
        if not any(os.path.isdir(directory) for directory in cgroup.directories):
            raise CgroupMissing(f"{self.prefix}/{name}")
        return cgroup

    def names(self) -> list[str]:
        return sorted(set().union(*(files.list_groups(root) for root in self._roots)))

    def remove_root(self) -> None:
        left = self.names()
        if left:
            raise CgroupBusy(self.prefix, ())
        if self._realtime is not None:
            self._realtime.close()
        for root in self._roots:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(root)

    def supports(self, feature: Feature) -> bool:
        match feature:
            case "freeze" | "kill":
                return "freezer" in self._root_of
            case "io":
                return "blkio" in self._root_of
            case "io_weight":
                return self._has("blkio", "blkio.bfq.io_serviced")  # the top has no weight itself
            case "swappiness" | "oom_disable":
                return "memory" in self._root_of
            case "pressure":
                return False
            case "realtime":
                return "cpu" in self._root_of and realtime.offered(os.path.dirname(self._root_of["cpu"]))
            case "swap":
                return self._has("memory", "memory.memsw.limit_in_bytes")
            case _:
                return feature in self._root_of

    def _has(self, controller: str, filename: str) -> bool:
        point = os.path.dirname(self._root_of.get(controller, ""))
        return bool(point) and os.path.exists(f"{point}/{filename}")

    def _cgroup(self, name: str, demanded: Sequence[str] = ()) -> CgroupV1:
        files.check_name(name)
        left_out = frozenset(self._demanded) - frozenset(demanded)
        return CgroupV1(name, {one: f"{root}/{name}" for one, root in self._root_of.items()}, left_out, self._realtime)

    def _make(self, root: str, directory: str) -> None:
        try:
            os.mkdir(directory, 0o755)
        except FileNotFoundError:
            os.makedirs(root, 0o755, exist_ok=True)
            os.mkdir(directory, 0o755)
        except FileExistsError:
            # Left by a crash: its limits are another container's.
            if not files.remove(directory):
                raise CgroupBusy(os.path.basename(directory), files.processes(directory)) from None
            os.mkdir(directory, 0o755)


def _demands(resources: Resources) -> list[str]:
    """The hierarchies that these limits need beyond those that every container is in."""
    found = []
    if resources.cpuset_cpus is not None or resources.cpuset_mems is not None:
        found.append("cpuset")
    if resources.hugetlb_bytes:
        found.append("hugetlb")
    return found


def _inherit_cpuset(root: str, directory: str) -> None:
    """Give a new group what the one above has: it begins with nothing, and nobody may join it so."""
    for filename in ("cpuset.cpus", "cpuset.mems"):
        if not files.read(f"{root}/{filename}").strip():  # our own prefix, just made
            files.write(f"{root}/{filename}", files.read(f"{os.path.dirname(root)}/{filename}"))
        files.write(f"{directory}/{filename}", files.read(f"{root}/{filename}"))
