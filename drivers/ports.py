"""Host ports that are published: held by a bound socket, so that nobody else can take them.

The kernel's rules carry the packets; the socket only keeps the port. It does not listen, so that
what no rule catches is refused as if the port were free. Where there is no rule, the relay serves it.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

from drivers.api import IPAddress, PortBinding
from drivers.errors import CannotPublish, DriverError, PortInUse, TooManyPorts
from drivers.kernel.sysctl import read_sysctl

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}

_MANY = 100  # as many are worth a look at what is open
_KEPT_FREE = 1024

Key = tuple[str, IPAddress | None, int]


class HeldPorts:
    """The ports this engine holds, each for one owner (an endpoint's id); safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Key, tuple[str, socket.socket | None]] = {}
        self._owned: dict[str, set[Key]] = {}

    def hold(
        self, owner: str, bindings: Iterable[PortBinding], undo: ExitStack | None = None
    ) -> tuple[PortBinding, ...]:
        """Hold every port, or none, and say which host ports they are. What the owner holds already stays so.

        Args:
            undo: Gets what gives back those that were not held before.

        Raises:
            PortInUse: Names the first that somebody else has.
            TooManyPorts: The engine may not open so many sockets.
        """
        bindings = list(bindings)
        _check_room(len(bindings))
        held = []
        fresh: list[PortBinding] = []
        with ExitStack() as undo_all:
            undo_all.callback(self.release, owner, fresh)
            for binding in bindings:
                had = not binding.host_port_end and self._owner(binding) == owner
                held.append(binding if had else self._hold(owner, binding))
                if not had:
                    fresh.append(held[-1])
            kept = undo_all.pop_all()
        if undo is not None:
            undo.push(kept)
        return tuple(held)

    def release(self, owner: str, bindings: Iterable[PortBinding]) -> None:
        """Give ports back; one that the owner does not hold is no error."""
        with self._lock:
            owned = self._owned.get(owner, set())
            keys = owned.intersection(map(_key, bindings))
            released = [self._held.pop(key) for key in keys]
            owned -= keys
            if not owned:
                self._owned.pop(owner, None)
        for _, held in released:
            if held is not None:
                held.close()

    def holds(self, owner: str) -> bool:
        """Whether it has any port."""
        with self._lock:
            return owner in self._owned

    def sockets_of(self, owner: str, bindings: Iterable[PortBinding]) -> list[socket.socket | None]:
        """What holds each of the ports for this owner; None if nothing does, or no socket."""
        with self._lock:
            found = [self._held.get(_key(binding), ("", None)) for binding in bindings]
        return [held if held_for == owner else None for held_for, held in found]

    def close(self) -> None:
        """Give all of them back."""
        with self._lock:
            held, self._held = self._held, {}
            self._owned.clear()
        for _, one in held.values():
            if one is not None:
                one.close()

    def _keep(self, owner: str, binding: PortBinding, held: socket.socket | None) -> None:
        self._held[_key(binding)] = owner, held
        self._owned.setdefault(owner, set()).add(_key(binding))

    def _owner(self, binding: PortBinding) -> str:
        return self._held.get(_key(binding), ("", None))[0]

    def _published_for(self, binding: PortBinding) -> str:
        """Whose endpoint has this port at any address; "" if none of ours has it."""
        with self._lock:
            return next(
                (
                    owner
                    for (protocol, _, port), (owner, _) in self._held.items()
                    if (protocol, port) == (binding.protocol, binding.host_port)
                ),
                "",
            )

    def _hold(self, owner: str, binding: PortBinding) -> PortBinding:
        last = max(binding.host_port, binding.host_port_end)
        for port in range(binding.host_port, last + 1):
            wanted = replace(binding, host_port=port, host_port_end=0) if binding.host_port_end else binding
            try:
                held = _bind(wanted)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port < last:
                    continue
                if error.errno == errno.EPROTONOSUPPORT:
                    return self._note(owner, binding)
                raise self._refusal(binding, wanted, error) from error
            if port == 0:
                wanted = replace(wanted, host_port=held.getsockname()[1])
            with self._lock:
                self._keep(owner, wanted, held)
            return wanted
        raise AssertionError("a range has at least one port")

    def _note(self, owner: str, binding: PortBinding) -> PortBinding:
        """Hold a port of a protocol that this kernel forwards, but has no sockets of (SCTP).

        No program can take it then, so it is enough that no other container has it.
        """
        last = max(binding.host_port, binding.host_port_end)
        choices = range(binding.host_port, last + 1) if binding.host_port else _ephemeral_ports()
        with self._lock:
            for port in choices:
                wanted = replace(binding, host_port=port, host_port_end=0)
                if not any(_overlap(_key(wanted), key) for key in self._held):
                    self._keep(owner, wanted, None)
                    return wanted
        refused = replace(binding, host_port=last, host_port_end=0)
        raise self._refusal(binding, refused, OSError(errno.EADDRINUSE, ""))

    def _refusal(self, binding: PortBinding, last: PortBinding, error: OSError) -> DriverError:
        where = show(last)
        if error.errno == errno.EADDRINUSE:
            if not binding.host_port:
                return DriverError(
                    f"no host port is free for {binding.container_port}/{binding.protocol}",
                    kind="unavailable",
                    hint="name a port, or widen the sysctl net.ipv4.ip_local_port_range",
                )
            if binding.host_port_end > binding.host_port:
                return PortInUse(f"range {binding.host_port}-{binding.host_port_end}/{binding.protocol}", "others")
            if ours := self._published_for(last):
                return PortInUse(where, "another container", endpoint=ours)
            return PortInUse(where, holder(last))
        if error.errno == errno.EADDRNOTAVAIL:
            return CannotPublish(
                f"cannot publish {where}: this host has no address {last.host_address}",
                hint="publish on an address it has, or on all: leave the address out",
            )
        if error.errno == errno.EACCES:
            return DriverError(f"cannot publish {where}: not allowed to bind it", kind="forbidden")
        return DriverError(f"cannot publish {where}: {os.strerror(error.errno or 0)}")


def _check_room(count: int) -> None:
    """Refuse so many ports that the engine would have no descriptors left for anything else."""
    if count < _MANY:
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    opened = Path("/proc/self/fd").stat().st_size  # since Linux 6.2
    opened = opened or sum(1 for _ in Path("/proc/self/fd").iterdir())
    free = limit - opened - min(_KEPT_FREE, limit // 8)
    if count > free:
        raise TooManyPorts(count, max(free, 0), limit)


def show(binding: PortBinding) -> str:
    """As users write it: "127.0.0.1:80/tcp", "80/tcp"."""
    address = binding.host_address
    shown = "" if address is None else f"[{address}]:" if address.version == 6 else f"{address}:"
    return f"{shown}{binding.host_port}/{binding.protocol}"


def holder(binding: PortBinding) -> str:
    """The process that has a port open, like "nginx, pid 812"; "" where it cannot be known.

    Looks at every descriptor of every process, so only when a port was refused.
    """
    inodes = {f"socket:[{inode}]" for inode in _sockets(binding) if inode}
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(str(entry.readlink()) in inodes for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()}, pid {process.name}"
        except OSError:
            continue  # it ended, or is not ours to look into
    return ""


def _key(binding: PortBinding) -> Key:
    return binding.protocol, binding.host_address, binding.host_port


def _overlap(one: Key, other: Key) -> bool:
    """Whether a socket for the one would be refused while there is one for the other."""
    if (one[0], one[2]) != (other[0], other[2]):
        return False
    addresses = [address for address in (one[1], other[1]) if address is not None]
    if len({address.version for address in addresses}) > 1:
        return False
    return len(addresses) < 2 or addresses[0] == addresses[1] or any(one.is_unspecified for one in addresses)


def _ephemeral_ports() -> list[int]:
    """Ports that the kernel might choose for a socket, in no order: none that the administrator reserved."""
    low, high = map(int, (read_sysctl("net/ipv4/ip_local_port_range") or "32768 60999").split())
    reserved: set[int] = set()
    for part in (read_sysctl("net/ipv4/ip_local_reserved_ports") or "").split(","):
        first, _, last = part.partition("-")
        reserved.update(range(int(first or 0), int(last or first or -1) + 1))
    free = [port for port in range(low, high + 1) if port not in reserved]
    random.shuffle(free)
    return free


def _bind(binding: PortBinding) -> socket.socket:
    try:
        return _bind_once(binding, reuse=False)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or binding.protocol != "tcp" or not binding.host_port:
            raise
        # Connections of a server that has ended linger for a minute (TIME_WAIT), or until the other
        # side ends them, too (FIN_WAIT_2), and hold nothing but the name. They are nobody's: inode 0.
        # Not with SO_REUSEADDR at once: two engines that both said so would both get the port.
        if any(_sockets(binding)):
            raise
        return _bind_once(binding, reuse=True)


def _bind_once(binding: PortBinding, reuse: bool) -> socket.socket:
    kind, protocol = _KINDS[binding.protocol]
    address = binding.host_address
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    if address is None and not has_dual_stack():
        family = socket.AF_INET
    held = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    try:
        if reuse:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # No address means both families: one socket holds the port in both.
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address is not None)
        if binding.protocol == "udp":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # nobody will read what strays here
        anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"
        held.bind((anywhere if address is None else str(address), binding.host_port))
    except BaseException:
        held.close()
        raise
    return held


@cache
def has_dual_stack() -> bool:
    """Whether one socket holds a port in both families."""
    return socket.has_dualstack_ipv6()  # makes a socket to find out


def _sockets(binding: PortBinding) -> Iterator[int]:
    """The inode of every socket that uses the port (proc_net_tcp(5)); 0 where no process has it any more.

    Of the calling thread's namespace: /proc/net would be that of the process's first thread.
    """
    for suffix in ("", "6"):
        try:
            lines = Path(f"/proc/thread-self/net/{binding.protocol}{suffix}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == binding.host_port:
                yield int(fields[9])
