"""The spawner's half of a launch: the clone, its id maps, its namespaces, its mounts."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from runtime.spawner.record import Pin
from runtime.spec import BindMount, ContainerSpec, IdMap, LayersMount


@dataclass(slots=True)
class Newborn:
    """A clone that waits for its mounts.

    Args:
        pid: Of the container's first process; with messenger it is still to come over control.
        messenger: The process in between, which makes the first one in a sandbox that stands.
        pin: The sandbox, made by this or before it; None for the host's.
        output: Where its stdout and stderr can be read; empty for a terminal.
        stdin: Where its stdin can be written to; -1 if that is /dev/null or a terminal.
        sources: Its binds, in the order of their attaching, as copies of the host's mounts; what is made of
            layers is among them, with -1, as it cannot be made yet.
    """

    spec: ContainerSpec
    pid: int
    messenger: int
    control: socket.socket
    pin: Pin | None
    made_pin: bool
    namespaces: int
    output: dict[str, int] = field(default_factory=dict)
    stdin: int = -1
    sources: list[tuple[BindMount | LayersMount, int]] = field(default_factory=list)

    @property
    def own_network(self) -> bool:
        return owns_network(self.spec, self.pin)

    def send_mounts(self, scratch: Scratch) -> list[str]:
        """Make the container's mounts and hand them to the child; returns warnings.

        Takes the sources, whatever happens.
        """
        idmap = self.spec.idmap
        userns = None
        if idmap is not None and self.pin is not None and self.pin.users is not None:
            userns = os.dup(self.pin.users)
        elif idmap is not None:
            userns = os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        base = 0 if idmap is None else idmap.base
        maker = MountMaker(userns, base, scratch)
        sources, self.sources = self.sources, []
        fds = [source for _, source in sources]
        try:
            for place, (wanted, source) in enumerate(sources):
                if isinstance(wanted, LayersMount):
                    fds[place] = maker.layers(wanted)
                else:
                    maker.bind(wanted, source)
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


def _own_namespaces(spec: ContainerSpec) -> int:
    """Those it has always, and those that it might share with the host."""
    own = clone.CLONE_NEWNS
    own |= clone.CLONE_NEWPID if spec.private_pids else 0
    own |= clone.CLONE_NEWUTS if spec.private_uts else 0
    return own | (clone.CLONE_NEWIPC if spec.ipc != "host" else 0)


def owns_network(spec: ContainerSpec, pin: Pin | None) -> bool:
    """Tell whether the container may mount a /sys of its network namespace, which then is not the host's."""
    return pin is not None and (spec.idmap is None or pin.users is not None)


def bear(
    forker: Forker,
    spec: ContainerSpec,
    order: dict[str, Any],
    pin: Pin | None,
    views: tuple[CgroupView, ...],
    others: int = 0,
) -> Newborn:
    """Clone a container's first process; it waits until it gets its mounts.

    Args:
        order: The spec as JSON.
        pin: Of spec.sandbox, where that stands already.
        others: Process whose PID namespace it is to be in; 0 for none.

    Raises:
        RuntimeFault: Nothing is left of it then.
    """
    if pin is not None and spec.idmap is not None and (pin.users is None or pin.base != spec.idmap.base):
        raise InvalidSpec(
            f"sandbox {spec.sandbox[:12]} is not of the user namespace that the container is to have",
            "containers that share a network share the user namespace: give both the same userns_mode",
            kind="conflict",
        )
    if others and pin is None:
        raise InvalidSpec(
            "a PID namespace can be shared by those alone who share the network",
            "give both the same network: container:NAME",
        )
    with ExitStack() as undo:
        sources = _open_sources(spec, undo)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(ours.close)
        pipes = _open_stdio(spec, undo)
        new_network = pin is None and spec.sandbox != "host"
        own = _own_namespaces(spec)
        namespaces = own | (clone.CLONE_NEWCGROUP if spec.private_cgroup else 0)
        namespaces |= clone.CLONE_NEWUSER if spec.idmap is not None else 0
        namespaces |= clone.CLONE_NEWNET if spec.sandbox != "host" else 0
        birth = Birth(
            spec=spec,
            control=theirs.fileno(),
            own_network=new_network or owns_network(spec, pin),
            own_users=spec.idmap is not None,
            stdio=pipes.ends,
            cgroups=views,
        )
        try:
            if pin is None:
                # The cgroup namespace comes later: the child makes it once it is in its groups.
                pid = forker.container(birth, order, namespaces & ~clone.CLONE_NEWCGROUP)
                newborn = Newborn(spec, pid, 0, ours, None, False, namespaces)
            else:
                users = pin.users if birth.own_users else None
                messenger = forker.sandboxed(birth, order, own, pin.network, users, others)
                newborn = Newborn(spec, 0, messenger, ours, pin, False, namespaces)
        except OSError as error:
            raise KernelRefused("make the container's namespaces", error, hint=_clone_hint(error)) from None
        finally:
            theirs.close()
            pipes.close_ends()
        undo.callback(_kill, newborn.pid or newborn.messenger)
        if pin is None:
            _map_ids(newborn.pid, spec.idmap)
            if new_network:
                newborn.pin = _pin(newborn.pid, spec.idmap)
                newborn.made_pin = True
                undo.callback(newborn.pin.close)
        wire.send_bytes(ours, MAPPED)
        ours.setblocking(False)
        newborn.output, newborn.stdin, newborn.sources = pipes.output, pipes.stdin, sources
        undo.pop_all()
    return newborn


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
    for name, kept in (("uid_map", idmap.keep_uid), ("gid_map", idmap.keep_gid)):
        try:
            _write(f"/proc/{pid}/{name}", _map(idmap, kept))
        except OSError as error:
            raise KernelRefused(
                f"map ids 0 to {idmap.size - 1} of the container to {idmap.base} and on",
                error,
                hint="CAP_SETUID and CAP_SETGID are needed, and ids below 4294967295",
            ) from None


def _map(idmap: IdMap, kept: int | None) -> bytes:
    """Lines of "inside outside count"."""
    if kept is None:
        return b"0 %d %d" % (idmap.base, idmap.size)
    parts = [(0, idmap.base, kept), (kept, kept, 1), (kept + 1, idmap.base + kept + 1, idmap.size - kept - 1)]
    return b"\n".join(b"%d %d %d" % part for part in parts if part[2] > 0)


def _write(path: str, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, data)
    finally:
        os.close(file)


def _pin(pid: int, idmap: IdMap | None) -> Pin:
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if idmap is None:
        return Pin(network, None, 0)
    return Pin(network, os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC), idmap.base)


def _kill(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
