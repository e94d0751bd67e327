"""The spawner's half of a launch: the clone, its id maps, its namespaces, its mounts."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runtime import wire
from runtime.errors import InvalidSpec, KernelRefused
from runtime.kernel import clone
from runtime.launch.container import Birth
from runtime.launch.control import MAPPED, MOUNTS
from runtime.launch.filesystems import CgroupView
from runtime.launch.order import ordered_mounts
from runtime.spawner import device, overlay
from runtime.spawner.forker import Forker
from runtime.spawner.overlay import MountMaker, Scratch
from runtime.spawner.record import Ipc, Pin
from runtime.spec import BindMount, ContainerSpec, IdMap, LayersMount

# Of the kernel that runs; most have them since Linux 5.6.
_TIME_NAMESPACES = os.path.exists("/proc/self/ns/time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What there is already of the namespaces that a container is to have.

    Args:
        pin: Its sandbox.
        lender: Another sandbox whose user namespace it is to have.
        ipc: Its IPC namespace and shared memory, or the memory alone.
        others: Process whose PID namespace it is to be in; 0 for one of its own.
    """

    pin: Pin | None = None
    lender: Pin | None = None
    ipc: Ipc | None = None
    others: int = 0

    @property
    def owner(self) -> Pin | None:
        """The sandbox whose user namespace it is to have."""
        return self.pin or self.lender

    def entered(self, spec: ContainerSpec, undo: ExitStack) -> list[tuple[int, int]]:
        """Descriptors and kinds of those to enter, in order: the user namespace first, by whose rights the others are.

        Args:
            undo: Closes those that are opened for this.
        """
        found = []
        if spec.idmap is not None and self.owner is not None and self.owner.users is not None:
            found.append((self.owner.users, clone.CLONE_NEWUSER))
        if self.pin is not None and self.pin.network is not None:
            found.append((self.pin.network, clone.CLONE_NEWNET))
        if self.ipc is not None and self.ipc.namespace >= 0:
            found.append((self.ipc.namespace, clone.CLONE_NEWIPC))
        if self.others:
            pidfd = clone.pidfd(self.others)
            undo.callback(os.close, pidfd)
            found.append((pidfd, clone.CLONE_NEWPID))
        return found


@dataclass(slots=True)
class Newborn:
    """A clone that waits for its mounts.

    Args:
        pid: Of the container's first process; with messenger it is still to come over control.
        messenger: The process in between, which makes the first one in namespaces that stand.
        pin: The sandbox, made by this or before it; None for the host's, and until keep() has made it.
        makes_pin: It is in no sandbox that was there before.
        own_network: The network namespace belongs to its user namespace.
        output: Where its stdout and stderr can be read; empty for a terminal.
        stdin: Where its stdin can be written to; -1 if that is /dev/null or a terminal.
        sources: Its binds, in the order of their attaching, as copies of the host's mounts; what is made of
            layers is among them, with -1, as it cannot be made yet.
    """

    spec: ContainerSpec
    pid: int
    messenger: int
    control: socket.socket
    standing: Standing
    pin: Pin | None
    makes_pin: bool
    own_network: bool
    namespaces: int
    output: dict[str, int] = field(default_factory=dict)
    stdin: int = -1
    sources: list[tuple[BindMount | LayersMount, int]] = field(default_factory=list)

    def keep(self, pid: int) -> None:
        """Pin the namespaces that were made for its first process.

        Raises:
            KernelRefused: It has died already.
        """
        open_ = partial(_open_namespace, pid)
        with ExitStack() as undo:
            ipc = self.standing.ipc
            if ipc is not None and ipc.namespace < 0:
                ipc.namespace = open_("ipc")
            if not self.makes_pin:
                return
            network = users = None
            if self.namespaces & clone.CLONE_NEWNET:
                network = open_("net")
                undo.callback(os.close, network)
            if self.spec.idmap is not None:
                users = open_("user")
            self.pin = Pin(network, users, 0 if self.spec.idmap is None else self.spec.idmap.base)
            undo.pop_all()

    def set_score(self, pid: int) -> None:
        """Tell the kernel when to kill its first process: who lowers the score needs rights that only the host's has.

        Raises:
            KernelRefused: It may not be lowered, or the process has died already.
        """
        score = self.spec.process.oom_score_adj
        if score is None:
            return
        try:
            _write(f"/proc/{pid}/oom_score_adj", b"%d" % score)
        except OSError as error:
            hint = "lowering it needs CAP_SYS_RESOURCE on the host"
            raise KernelRefused(f"set oom_score_adj to {score}", error, hint=hint) from None

    def send_mounts(self, scratch: Scratch) -> list[str]:
        """Make the container's mounts and hand them to the child; returns warnings.

        Takes the sources, whatever happens.
        """
        idmap = self.spec.idmap
        userns = None
        owner = self.pin or self.standing.owner
        if idmap is not None and owner is not None and owner.users is not None:
            userns = os.dup(owner.users)
        base = 0 if idmap is None else idmap.base
        maker = MountMaker(userns, idmap, scratch)
        sources, self.sources = self.sources, []
        fds = [source for _, source in sources]
        try:
            for place, (wanted, source) in enumerate(sources):
                if isinstance(wanted, LayersMount):
                    fds[place] = maker.layers(wanted)
                else:
                    maker.bind(wanted, source)
            if self.standing.ipc is not None:
                fds.insert(0, self.standing.ipc.memory.copy())
            if not self.own_network:
                fds.insert(0, maker.host_sys())
            fds.insert(0, device.new_dev(self.spec, base))
            fds.insert(0, maker.root(self.spec.rootfs))
            fds.extend(maker.spent)
            if len(fds) > wire.MAX_FDS:
                raise InvalidSpec(f"{len(sources)} mounts are more than one container can have", "mount their parents")
            wire.send_bytes(self.control, MOUNTS, fds)
        finally:
            for fd in {*fds, *maker.spent} - {-1}:
                os.close(fd)
            if userns is not None:
                os.close(userns)
        return maker.warnings


def _namespaces_of(spec: ContainerSpec) -> int:
    """Those it has that are not the host's, but for that of its processes where it is another container's."""
    found = clone.CLONE_NEWNS
    found |= clone.CLONE_NEWPID if spec.private_pids else 0
    found |= clone.CLONE_NEWUTS if spec.private_uts else 0
    found |= clone.CLONE_NEWIPC if spec.ipc != "host" else 0
    found |= clone.CLONE_NEWCGROUP if spec.private_cgroup else 0
    found |= clone.CLONE_NEWUSER if spec.idmap is not None else 0
    found |= clone.CLONE_NEWTIME if _TIME_NAMESPACES else 0
    return found | (clone.CLONE_NEWNET if spec.sandbox != "host" else 0)


def bear(
    forker: Forker, spec: ContainerSpec, order: dict[str, Any], standing: Standing, views: tuple[CgroupView, ...]
) -> Newborn:
    """Clone a container's first process; it waits until it gets its mounts.

    Args:
        order: The spec as JSON.

    Raises:
        RuntimeFault: Nothing is left of it then.
    """
    owner = standing.owner
    if owner is not None and spec.idmap is not None and (owner.users is None or owner.base != spec.idmap.base):
        raise InvalidSpec(
            f"sandbox {spec.sandbox[:12]} is not of the user namespace that the container is to have",
            "containers that share a namespace share the user namespace: give both the same userns_mode",
            kind="conflict",
        )
    with ExitStack() as undo:
        sources = _open_sources(spec, undo)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(ours.close)
        pipes = _open_stdio(spec, undo)
        namespaces = _namespaces_of(spec)
        own_network = bool(namespaces & clone.CLONE_NEWNET) and (
            standing.pin is None or spec.idmap is None or standing.pin.users is not None
        )
        birth = Birth(
            spec=spec,
            control=theirs.fileno(),
            own_network=own_network,
            own_users=spec.idmap is not None,
            stdio=pipes.ends,
            cgroups=views,
        )
        try:
            pid, messenger = _clone(forker, birth, order, namespaces, standing.entered(spec, undo))
        except OSError as error:
            raise KernelRefused("make the container's namespaces", error, hint=_clone_hint(error)) from None
        finally:
            theirs.close()
            pipes.close_ends()
        undo.callback(_kill, pid or messenger)
        own_users = spec.idmap is not None and standing.owner is None
        makes_pin = standing.pin is None and (spec.sandbox != "host" or own_users)
        newborn = Newborn(spec, pid, messenger, ours, standing, standing.pin, makes_pin, own_network, namespaces)
        if own_users:
            _map_ids(pid, spec.idmap)
        if pid:
            newborn.set_score(pid)
            newborn.keep(pid)
            if makes_pin and newborn.pin is not None:
                undo.callback(newborn.pin.close)
        wire.send_bytes(ours, MAPPED)
        ours.setblocking(False)
        newborn.output, newborn.stdin, newborn.sources = pipes.output, pipes.stdin, sources
        undo.pop_all()
    return newborn


def _clone(
    forker: Forker, birth: Birth, order: dict[str, Any], namespaces: int, entered: list[tuple[int, int]]
) -> tuple[int, int]:
    """The first process, or the messenger that makes it; the other one is 0."""
    # The cgroup namespace comes later: the child makes it once it is in its groups.
    made = namespaces & ~clone.CLONE_NEWCGROUP
    if not entered:
        return forker.container(birth, order, made), 0
    for _, kind in entered:
        made &= ~kind
    return 0, forker.joining(birth, order, made, entered)


def _clone_hint(error: OSError) -> str:
    return "see /proc/sys/user/max_*_namespaces and ulimit -u" if error.errno in (errno.EAGAIN, errno.ENOSPC) else ""


def _open_sources(spec: ContainerSpec, undo: ExitStack) -> list[tuple[BindMount | LayersMount, int]]:
    sources: list[tuple[BindMount | LayersMount, int]] = []
    for wanted in ordered_mounts(spec):
        if isinstance(wanted, BindMount):
            sources.append((wanted, overlay.open_source(wanted)))
            undo.callback(os.close, sources[-1][1])
        elif isinstance(wanted, LayersMount):
            sources.append((wanted, -1))
    return sources


@dataclass(slots=True)
class _Pipes:
    """The spawner's ends, and the child's for 0, 1 and 2."""

    output: dict[str, int] = field(default_factory=dict)
    stdin: int = -1
    ends: tuple[int, int, int] | None = None

    def close_ends(self) -> None:
        for end in self.ends or ():
            if end >= 0:
                os.close(end)


def _open_stdio(spec: ContainerSpec, undo: ExitStack) -> _Pipes:
    pipes = _Pipes()
    if spec.process.terminal:
        return pipes
    read_in = -1
    if spec.open_stdin:
        read_in, pipes.stdin = os.pipe2(os.O_CLOEXEC)
        undo.callback(os.close, pipes.stdin)
    writes = []
    for name in ("stdout", "stderr"):
        pipes.output[name], write = os.pipe2(os.O_CLOEXEC)
        undo.callback(os.close, pipes.output[name])
        writes.append(write)
    pipes.ends = (read_in, writes[0], writes[1])
    if spec.idmap is not None:
        # So that the container may open its own /dev/stdout again.
        for end in pipes.ends:
            if end >= 0:
                os.fchown(end, spec.idmap.base, spec.idmap.base)
    return pipes


def _map_ids(pid: int, idmap: IdMap | None) -> None:
    if idmap is None:
        return
    for name, lines in (("uid_map", idmap.lines("uid")), ("gid_map", idmap.lines("gid"))):
        try:
            _write(f"/proc/{pid}/{name}", b"\n".join(b"%d %d %d" % line for line in lines))
        except OSError as error:
            raise KernelRefused(
                f"map ids of the container to {idmap.base} and on of the host",
                error,
                hint="CAP_SETUID and CAP_SETGID are needed, and ids below 4294967295",
            ) from None


def _write(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, data)
    finally:
        os.close(file)


def _open_namespace(pid: int, kind: str) -> int:
    try:
        return os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelRefused(f"open the {kind} namespace of a container's first process", error) from None


def _kill(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
