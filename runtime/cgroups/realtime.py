"""Time for real-time tasks (SCHED_FIFO, SCHED_RR), which v1 deals out: what a group has, the one above it must have.

A group begins with none, and so does ours above the containers'. That one gets what its containers need and
gives it back; or it has what the administrator said, and they share that.
Source: Linux Documentation/scheduler/sched-rt-group.rst; kernel/sched/rt.c, tg_rt_schedulable().
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
from dataclasses import dataclass

from runtime.cgroups import files
from runtime.cgroups.errors import LimitRefused, LimitUnavailable

_RUNTIME, _PERIOD = "cpu.rt_runtime_us", "cpu.rt_period_us"
LIMIT = "cpu_rt_runtime"


@dataclass(frozen=True, slots=True)
class Time:
    """So much of each period, on every processor; in microseconds."""

    runtime_us: int
    period_us: int

    @property
    def share(self) -> float:
        return self.runtime_us / self.period_us


class Budget:
    """Args:
    root: The group above those of the containers, in the hierarchy of the cpu controller.
    chosen: What it is to have, whatever they need.
    """

    def __init__(self, root: str, chosen: Time | None = None) -> None:
        self._root = root
        self._chosen = chosen
        self._lock = threading.Lock()
        self._dealt: bool | None = None  # None: not known, an earlier engine may have

    def give(self, directory: str, runtime_us: int | None, period_us: int | None) -> None:
        """Let a container's group have it; None leaves what it has.

        Raises:
            LimitUnavailable: The kernel deals out none.
            LimitRefused: There is not enough left.
        """
        with self._lock:
            now = _read(directory)
            if now is None:
                raise LimitUnavailable(LIMIT, f"the kernel has no {_RUNTIME} (CONFIG_RT_GROUP_SCHED)")
            wanted = Time(
                now.runtime_us if runtime_us is None else runtime_us, now.period_us if period_us is None else period_us
            )
            self._dealt = True
            self._provide(directory, wanted)
            try:
                _write(directory, now, wanted)
            except OSError as error:
                raise self._refused(wanted, error) from error
            finally:
                self._return()

    def take(self, directory: str) -> None:
        """Have nothing left in a group that is about to go: the kernel counts it until it has forgotten the group."""
        if self._dealt is False:
            return
        with self._lock:
            _empty(directory)
            self._return()

    def close(self) -> None:
        """The same with the group above, when it goes."""
        if self._dealt is not False or self._chosen is not None:
            _empty(self._root)

    def _provide(self, directory: str, wanted: Time) -> None:
        root = _read(self._root)
        assert root is not None  # its groups have the files, so has it
        needed = self._chosen
        if needed is None:
            share = self._used(but=directory) + max(wanted.share, _share(directory))
            needed = Time(max(_whole(share * root.period_us), root.runtime_us), root.period_us)
        try:
            _write(self._root, root, needed)
        except OSError as error:
            raise self._refused(wanted, error) from error

    def _return(self) -> None:
        root = _read(self._root)
        used = self._used()
        self._dealt = used > 0
        if root is None or self._chosen is not None:
            return
        kept = _whole(used * root.period_us)
        if kept < root.runtime_us:
            with contextlib.suppress(OSError):  # it is no burden: another try comes with the next container
                files.write(f"{self._root}/{_RUNTIME}", str(kept))

    def _used(self, but: str = "") -> float:
        groups = (f"{self._root}/{name}" for name in files.list_groups(self._root))
        return sum(_share(group) for group in groups if group != but)

    def _refused(self, wanted: Time, error: OSError) -> LimitRefused:
        value = f"{wanted.runtime_us} of each {wanted.period_us} microseconds"
        if error.errno == errno.EBUSY:
            return LimitRefused(LIMIT, value, "a real-time task of the container has need of what it has")
        if error.errno != errno.EINVAL:
            return LimitRefused(LIMIT, value, os.strerror(error.errno or 0).lower())
        if self._chosen is not None and _read(self._root) == self._chosen:
            taken = self._used() * self._chosen.period_us
            return LimitRefused(
                LIMIT,
                value,
                f"the engine's setting cpu-rt-runtime leaves containers {self._chosen.runtime_us} of each "
                f"{self._chosen.period_us}, and {taken:.0f} of them are taken",
            )
        top = _read(os.path.dirname(self._root)) or Time(0, 1)
        name = os.path.basename(self._root)
        groups = (f"{os.path.dirname(self._root)}/{one}" for one in files.list_groups(os.path.dirname(self._root)))
        others = sum(_share(group) for group in groups if os.path.basename(group) != name)
        return LimitRefused(
            LIMIT,
            value,
            f"this machine leaves real-time tasks {top.runtime_us} of each {top.period_us}; of these "
            f"{others * top.period_us:.0f} are other groups', {self._used() * top.period_us:.0f} other containers'",
        )


def offered(mount: str) -> bool:
    """Whether the cpu controller that is mounted there deals out any."""
    top = _read(mount)
    return top is not None and top.runtime_us != 0


def _read(directory: str) -> Time | None:
    try:
        return Time(int(files.read(f"{directory}/{_RUNTIME}")), int(files.read(f"{directory}/{_PERIOD}")))
    except FileNotFoundError:
        return None


def _whole(runtime_us: float) -> int:
    """Rounded up, but for what only the arithmetic added."""
    return math.ceil(round(runtime_us, 3))


def _empty(directory: str) -> None:
    with contextlib.suppress(OSError):  # a real-time task has not quite ended, or there is no such thing
        if files.read_int(f"{directory}/{_RUNTIME}"):
            files.write(f"{directory}/{_RUNTIME}", "0")


def _share(directory: str) -> float:
    found = _read(directory)  # it may just have gone
    return 0.0 if found is None else found.share


def _write(directory: str, now: Time, wanted: Time) -> None:
    """Set both in the order in which neither step asks for more than the beginning and the end do."""
    steps = [(_PERIOD, now.period_us, wanted.period_us), (_RUNTIME, now.runtime_us, wanted.runtime_us)]
    if wanted.runtime_us < now.runtime_us:
        steps.reverse()
    for filename, before, after in steps:
        if before != after:
            files.write(f"{directory}/{filename}", str(after))
