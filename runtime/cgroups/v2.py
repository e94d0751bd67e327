"""Control groups of the second generation: one tree, controllers handed down from parent to child."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import threading
import time
import weakref
from collections.abc import Sequence

from runtime.cgroups import devices as device_rules
from runtime.cgroups import files
from runtime.cgroups.api import Cgroup, Cgroups, Feature, Pressure, Stats
from runtime.cgroups.blocks import block_device
from runtime.cgroups.errors import CgroupBusy, CgroupMissing, FreezeFailed, LimitRefused, LimitUnavailable
from runtime.cgroups.oom import Counted, OomWatch
from runtime.kernel import bpf
from runtime.spec import Resources

CONTROLLERS = ("memory", "cpu", "pids", "io", "cpuset", "hugetlb")
_CONTROLLER_OF: dict[str, str] = {"swap": "memory", "io_weight": "io"}
_IO_KEYS = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}
_NOT_HERE = "cgroup v2 has no such setting"
_FREEZE_TIMEOUT_S = 2.0
_DEFAULT_PERIOD_US = 100_000


def weight_of(shares: int) -> int:
    """v2's weight (1 to 10000, 100 is everybody's) for Docker's shares (2 to 262144, 1024 is everybody's).

    A straight line through the ends would turn 1024 into 39, so that containers would get less than
    everything else; this curve meets the ends and the middle.
    Source: github.com/opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value.
    """
    power = math.log2(min(max(shares, 2), 262_144))
    return min(math.ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34)), 10_000)


def io_weight_of(weight: int) -> int:
    """v2's io.weight (1 to 10000) for Docker's (10 to 1000).

    Source: github.com/opencontainers/cgroups, ConvertBlkIOToIOWeightValue.
    """
    return 1 + (weight - 10) * 9999 // 990


class CgroupV2(Cgroup):
    """See Cgroup."""

    def __init__(self, name: str, directory: str) -> None:
        self.name = name
        self._directory = directory
        self.directories = (directory,)

    def update(self, resources: Resources) -> None:
        self._limit_memory(resources)
        quota, period = resources.cpu_quota_us, resources.cpu_period_us
        if quota is not None or period is not None:
            self._set("cpu.max", "cpu_quota_us", self._cpu_max(quota, period))
        if resources.cpu_weight is not None:
            self._set("cpu.weight", "cpu_weight", str(weight_of(resources.cpu_weight)))
        if resources.pids_max is not None:
            self._set("pids.max", "pids_max", _number_or_max(resources.pids_max))
        for filename, limit, value in (
            ("cpuset.cpus", "cpuset_cpus", resources.cpuset_cpus),
            ("cpuset.mems", "cpuset_mems", resources.cpuset_mems),
        ):
            if value is not None:
                self._set(filename, limit, value)
        self._limit_io(resources)
        if resources.cpu_rt_runtime_us is not None or resources.cpu_rt_period_us is not None:
            raise LimitUnavailable("cpu_rt_runtime", f"{_NOT_HERE}; real-time tasks run without a limit of their own")
        for size, most in resources.hugetlb_bytes:
            self._set(f"hugetlb.{size}.max", "hugetlb", _number_or_max(most))

    def stats(self) -> Stats:
        cpu = files.read_table(f"{self._directory}/cpu.stat")
        memory = files.read_table(f"{self._directory}/memory.stat")
        read_bytes, write_bytes = self._io()
        return Stats(
            cpu_total_ns=cpu.get("usage_usec", 0) * 1000,
            cpu_user_ns=cpu.get("user_usec", 0) * 1000,
            cpu_system_ns=cpu.get("system_usec", 0) * 1000,
            cpu_periods=cpu.get("nr_periods", 0),
            cpu_throttled_periods=cpu.get("nr_throttled", 0),
            cpu_throttled_ns=cpu.get("throttled_usec", 0) * 1000,
            memory_bytes=self._number("memory.current"),
            memory_max_bytes=self._number("memory.peak"),
            memory_limit_bytes=self._number("memory.max"),
            memory_cache_bytes=memory.get("file", 0),
            memory_rss_bytes=memory.get("anon", 0),
            memory_inactive_file_bytes=memory.get("inactive_file", 0),
            pids=self._number("pids.current"),
            pids_limit=self._number("pids.max"),
            io_read_bytes=read_bytes,
            io_write_bytes=write_bytes,
            oom_kills=self.oom_kills(),
            pressure=self._pressure(),
        )

    def freeze(self) -> None:
        if not self._settle(frozen=True):
            files.write(f"{self._directory}/cgroup.freeze", "0")
            raise FreezeFailed(self.name, "frozen")

    def thaw(self) -> None:
        if not self._settle(frozen=False):
            raise FreezeFailed(self.name, "thawed")

    def oom_kills(self) -> int:
        return files.read_table(f"{self._directory}/memory.events").get("oom_kill", 0)

    def watch_oom(self) -> OomWatch | None:
        if not os.path.exists(f"{self._directory}/memory.events"):
            return None
        return Counted(self._directory, self.oom_kills)

    def processes(self) -> list[int]:
        return files.processes(self._directory)

    def kill(self) -> None:
        try:
            files.write(f"{self._directory}/cgroup.kill", "1")
        except FileNotFoundError:  # before Linux 5.14, or the group is gone
            self._kill_one_by_one()

    def delete(self, timeout_s: float = 2.0) -> None:
        deadline = time.monotonic() + timeout_s
        if files.remove(self._directory):
            return
        self._await("populated", 0, timeout_s)
        if not files.until(lambda: files.remove(self._directory), max(deadline - time.monotonic(), 0)):
            raise CgroupBusy(self.name, self.processes())

    def _limit_io(self, resources: Resources) -> None:
        if resources.io_weight is not None:
            self._weigh_io(resources.io_weight, "default")
        for limit in resources.io_limits:
            device = block_device(limit.device)
            if limit.kind == "weight":
                self._weigh_io(limit.value, device)
            else:
                most = str(limit.value or "max")
                self._set("io.max", f"io {limit.kind}", f"{device} {_IO_KEYS[limit.kind]}={most}")

    def _weigh_io(self, weight: int, device: str) -> None:
        # Which of the two there is depends on the kernel's I/O schedulers; bfq's own counts like Docker.
        if os.path.exists(f"{self._directory}/io.bfq.weight"):
            self._set("io.bfq.weight", "io_weight", f"{device} {weight}")
        else:
            self._set("io.weight", "io_weight", f"{device} {io_weight_of(weight)}")

    def _pressure(self) -> dict[str, Pressure]:
        found = {}
        for resource in ("cpu", "memory", "io"):
            with contextlib.suppress(OSError):  # the kernel has none, or it is switched off (EOPNOTSUPP)
                found[resource] = pressure_of(files.read(f"{self._directory}/{resource}.pressure"))
        return found

    def _limit_memory(self, resources: Resources) -> None:
        if resources.memory_swappiness is not None:
            raise LimitUnavailable("memory_swappiness", _NOT_HERE)
        if resources.oom_kill_disable:
            raise LimitUnavailable("oom_kill_disable", _NOT_HERE)
        reservation = resources.memory_reservation_bytes
        if reservation is not None:
            self._set("memory.low", "memory_reservation_bytes", _number_or_max(reservation))
        memory, both = resources.memory_bytes, resources.memory_swap_bytes
        if memory is not None:
            self._set("memory.max", "memory_bytes", _number_or_max(memory))
        if both is None:
            return
        # v2 counts swap alone, Docker's number counts memory with it.
        memory = self._number("memory.max") if memory is None else memory
        if both == -1:
            self._set("memory.swap.max", "memory_swap_bytes", "max")
        elif memory is None or memory == -1 or both < memory:
            raise LimitRefused("memory_swap_bytes", both, "it counts memory, too, so it cannot be below memory_bytes")
        else:
            self._set("memory.swap.max", "memory_swap_bytes", str(both - memory))

    def _cpu_max(self, quota: int | None, period: int | None) -> str:
        """Both halves of cpu.max; the one not given stays."""
        now = ["max", str(_DEFAULT_PERIOD_US)]
        with contextlib.suppress(FileNotFoundError):
            now = files.read(f"{self._directory}/cpu.max").split()
        return f"{now[0] if quota is None else _number_or_max(quota)} {now[1] if period is None else period}"

    def _set(self, filename: str, limit: str, value: str) -> None:
        try:
            files.write(f"{self._directory}/{filename}", value)
        except FileNotFoundError:
            controller = filename.partition(".")[0]
            raise LimitUnavailable(limit, f"the {controller} controller of cgroup v2 is not available") from None
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ERANGE, errno.EBUSY):
                raise
            raise LimitRefused(limit, value, os.strerror(error.errno).lower()) from error

    def _settle(self, *, frozen: bool) -> bool:
        try:
            files.write(f"{self._directory}/cgroup.freeze", str(int(frozen)))
        except FileNotFoundError:
            raise LimitUnavailable(
                "pause", "the kernel has no cgroup.freeze (Linux 5.2), or the group is gone"
            ) from None
        return self._await("frozen", int(frozen), _FREEZE_TIMEOUT_S)

    def _await(self, key: str, value: int, timeout_s: float) -> bool:
        """Wait until cgroup.events says so; the kernel wakes us at each change."""
        # Source: Linux Documentation/admin-guide/cgroup-v2.rst, "cgroup.events": poll and inotify report changes.
        path = f"{self._directory}/cgroup.events"
        deadline = time.monotonic() + timeout_s
        try:
            events = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while files.table(os.pread(events, 4096, 0).decode()).get(key) != value:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                poll.poll(left_s * 1000)
            return True
        finally:
            os.close(events)

    def _kill_one_by_one(self) -> None:
        frozen = False
        with contextlib.suppress(FreezeFailed, LimitUnavailable):
            self.freeze()
            frozen = True
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if frozen:
            self.thaw()

    def _io(self) -> tuple[int, int]:
        read_bytes = write_bytes = 0
        with contextlib.suppress(FileNotFoundError):
            for line in files.read(f"{self._directory}/io.stat").splitlines():
                # "254:0 rbytes=4096 wbytes=0 rios=1 ..."
                pairs = dict(word.split("=", 1) for word in line.split()[1:] if "=" in word)
                read_bytes += int(pairs.get("rbytes", 0))
                write_bytes += int(pairs.get("wbytes", 0))
        return read_bytes, write_bytes

    def _number(self, filename: str) -> int | None:
        """None where there is no such file, or it says "max"."""
        try:
            text = files.read(f"{self._directory}/{filename}").strip()
        except FileNotFoundError:
            return None
        return None if text == "max" else int(text)


class CgroupsV2(Cgroups):
    """See Cgroups.

    Controllers reach a container's group only if every group above it hands them down. We ask that of
    the mount's top and of our own prefix, one controller at a time, and live with what is refused.
    """

    version = "v2"

    def __init__(self, mount: str, prefix: str) -> None:
        self.prefix = files.check_name(prefix)
        self._mount = mount
        self._root = f"{mount}/{prefix}"
        self._program: int | None = None  # the default rules', shared by all groups; loading takes a millisecond
        self._programs = threading.Lock()

    def create(
        self, name: str, resources: Resources, *, privileged: bool = False, devices: Sequence[str] = ()
    ) -> CgroupV2:
        cgroup = CgroupV2(name, self._path(name))
        try:
            os.mkdir(cgroup.directories[0], 0o755)
        except FileNotFoundError:
            self._make_root()
            os.mkdir(cgroup.directories[0], 0o755)
        except FileExistsError:
            cgroup.delete(timeout_s=0)  # left by a crash: its limits are another container's
            os.mkdir(cgroup.directories[0], 0o755)
        try:
            cgroup.update(resources)
            if not privileged:
                self._allow_devices(cgroup.directories[0], devices)
        except BaseException:
            files.remove(cgroup.directories[0])
            raise
        return cgroup

    def open(self, name: str) -> CgroupV2:
        path = self._path(name)
        if not os.path.isdir(path):
            raise CgroupMissing(f"{self.prefix}/{name}")
        return CgroupV2(name, path)

    def names(self) -> list[str]:
        return sorted(files.list_groups(self._root))

    def remove_root(self) -> None:
        try:
            os.rmdir(self._root)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            raise CgroupBusy(self.prefix, ()) from None

    def supports(self, feature: Feature) -> bool:
        match feature:
            case "freeze" | "kill":
                return True
            case "devices":
                return self._default_program() is not None
            case "swap":
                return self._available("memory") and os.path.exists("/proc/swaps")
            case "swappiness" | "oom_disable" | "realtime":
                return False
            case "io_weight":
                return self._available("io") and self._weighs_io()
            case "pressure":
                return os.path.exists("/proc/pressure/cpu") and os.path.exists(f"{self._mount}/cgroup.pressure")
            case _:
                return self._available(_CONTROLLER_OF.get(feature, feature))

    def _weighs_io(self) -> bool:
        """Told by a group below the top, where there is one: the top itself has no weight."""
        names = ("io.weight", "io.bfq.weight")
        return any(
            os.path.exists(f"{self._mount}/{group}/{name}")
            for group in files.list_groups(self._mount)
            for name in names
        )

    def _allow_devices(self, directory: str, devices: Sequence[str]) -> None:
        """Attach the program that decides. Where there are none, a container has only the nodes in its /dev."""
        program = self._default_program()
        if program is None:
            return
        own = bpf.device_program([device_rules.parsed(rule) for rule in device_rules.rules(devices)]) if devices else -1
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            bpf.attach_to_group(own if devices else program, descriptor)
        finally:
            os.close(descriptor)
            if devices:
                os.close(own)

    def _default_program(self) -> int | None:
        with self._programs:
            if self._program is None:
                # No BPF in the kernel, or not for us: asked again next time, which costs a system call.
                with contextlib.suppress(OSError):
                    rules = [device_rules.parsed(rule) for rule in device_rules.DEFAULT_RULES]
                    self._program = bpf.device_program(rules)
                    weakref.finalize(self, os.close, self._program)
            return self._program

    def _available(self, controller: str) -> bool:
        """Whether a group of ours would have it; found out without changing anything."""
        if controller not in files.read(f"{self._mount}/cgroup.controllers").split():
            return False
        if controller in files.read(f"{self._mount}/cgroup.subtree_control").split():
            return True
        # A group that holds processes hands nothing down ("no internal processes"), except the
        # hierarchy's real top, which alone has no cgroup.type.
        top = not os.path.exists(f"{self._mount}/cgroup.type")
        return top or not files.read(f"{self._mount}/cgroup.procs").strip()

    def _make_root(self) -> None:
        os.makedirs(self._root, 0o755, exist_ok=True)
        for directory in (self._mount, self._root):
            here = set(files.read(f"{directory}/cgroup.controllers").split())
            down = set(files.read(f"{directory}/cgroup.subtree_control").split())
            for controller in CONTROLLERS:
                if controller in here - down:
                    # EBUSY: processes live there. The limit is then refused by name when someone asks for it.
                    with contextlib.suppress(OSError):
                        files.write(f"{directory}/cgroup.subtree_control", f"+{controller}")

    def _path(self, name: str) -> str:
        return f"{self._root}/{files.check_name(name)}"


def _number_or_max(value: int) -> str:
    return "max" if value == -1 else str(value)


def pressure_of(text: str) -> Pressure:
    """Read "some avg10=1.53 avg60=.. avg300=.. total=MICROSECONDS" and its line "full"."""
    lines = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        lines[kind] = dict(pair.split("=", 1) for pair in pairs)
    some, full = lines.get("some", {}), lines.get("full", {})
    return Pressure(
        some_percent=float(some.get("avg10", 0)),
        full_percent=float(full.get("avg10", 0)),
        some_s=int(some.get("total", 0)) / 1e6,
        full_s=int(full.get("total", 0)) / 1e6,
    )
