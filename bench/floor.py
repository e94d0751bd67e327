"""The floor: the system calls and netlink messages of each operation with no logic around them.

`python -m bench.floor DIRECTORY REPETITIONS SIZE...` prints samples as JSON. It is a small process of
its own, for a fork costs what its process weighs. What is asked of the kernel is what an engine has
to ask: six namespaces and a cgroup one, an id map, control groups, an overlay root with its own
/proc, /sys, /dev, /dev/pts, /dev/shm and /dev/mqueue, pivot_root and exec; a veth pair made in place,
a bridge port, address and default route. Nothing is stored, checked, logged or undone.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from bench.machine import reap
from bench.measure import Clock
from drivers.kernel.address import add_address
from drivers.kernel.bridge import add_bridge
from drivers.kernel.link import add_veth, delete_group, delete_link, set_down, set_group, set_master, set_up
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.route import add_route
from runtime.kernel import clone, prctl

MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
BRIDGE, SECOND = "nmfloor", "nmfloor2"
NETWORK = IPv4Network("10.199.0.0/16")
GATEWAY = IPv4Address("10.199.0.1")
GROUP = 0x0F100F
CGROUP = f"nmfloor{os.getpid()}"
ID_BASE = 1_000_000
PORTS = 100

_libc = ctypes.CDLL(None, use_errno=True)


class Floor:
    """One bridge and the containers on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._image = directory / "image"
        self._host = Netlink()
        self._controllers = [Path(root) for root in _cgroup_roots()]
        for root in self._controllers:
            (root / CGROUP).mkdir(exist_ok=True)
            _inherit_cpuset(root / CGROUP)
        self.bridge = self.create_network(BRIDGE, f"{GATEWAY}/16")

    def close(self) -> None:
        # After a failure there are containers still, and their groups.
        for root in self._controllers:
            for group in (root / CGROUP).glob("*/"):
                for pid in (group / "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                while reap():
                    pass
                with suppress(OSError):
                    group.rmdir()
            with suppress(OSError):
                (root / CGROUP).rmdir()
        self.remove_network(BRIDGE)

    def run(self, index: int) -> Container:
        """From nothing to the program's exec."""
        container = Container(self._directory / f"c{index}", index)
        container.make_directories()
        groups = [root / CGROUP / f"c{index}" for root in self._controllers]
        for group in groups:
            group.mkdir()
            _inherit_cpuset(group)
        mapped_read, mapped_write = os.pipe()
        go_read, go_write = os.pipe()
        ran_read, ran_write = os.pipe()
        pid = clone.clone(clone.ALL_NAMESPACES)
        if pid == 0:
            # With the writing ends of what it waits for closed, it ends when its maker does.
            for end in (ran_read, mapped_write, go_write):
                os.close(end)
            _be_container(self._image, container, groups, mapped_read, go_read)
        for theirs in (mapped_read, go_read, ran_write):
            os.close(theirs)
        container.pid, container.groups = pid, groups
        Path(f"/proc/{pid}/setgroups").write_text("deny")
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{kind}").write_text(f"0 {ID_BASE} 65536\n")
        os.write(mapped_write, b"x")  # it mounts while we make its links
        self.attach(container, self.bridge, "eth0", GATEWAY + 1 + index)
        os.write(go_write, b"x")
        os.read(ran_read, 1)  # closed by exec
        for ours in (mapped_write, go_write, ran_read):
            os.close(ours)
        return container

    def attach(self, container: Container, bridge: int, name: str, address: IPv4Address) -> None:
        netns = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY)
        with Netlink(Path(f"/proc/self/fd/{netns}")) as inside:
            self._host.apply([add_veth(_host_end(container, name), name, netns, master=bridge, up=True)])
            link = inside.index(name)
            requests = [set_up(1), add_address(link, IPv4Interface(f"{address}/16")), set_up(link)]
            if name == "eth0":
                requests.append(add_route(IPv4Network("0.0.0.0/0"), via=GATEWAY, ifindex=link))
            inside.apply(requests)
        os.close(netns)

    def detach(self, container: Container, name: str) -> None:
        """Out of service, as an engine leaves it to its reaper."""
        host_end = _host_end(container, name)
        self._host.apply([set_down(host_end), set_master(host_end, 0), set_group(host_end, GROUP)])

    def execute(self, container: Container) -> None:
        """Join everything, run true, wait."""
        pid = os.fork()
        if pid == 0:
            fd = clone.pidfd(container.pid)
            clone.enter(fd, clone.ALL_NAMESPACES)
            inner = os.fork()  # a process is in a PID namespace only from its birth
            if inner == 0:
                os.execv("/bin/true", ["true"])
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
        os.waitpid(pid, 0)

    def remove(self, containers: list[Container]) -> None:
        """Kill, wait, remove groups and directories; namespaces take their links with them."""
        for container in containers:
            os.kill(container.pid, signal.SIGKILL)
        for container in containers:
            os.waitpid(container.pid, 0)
            for group in container.groups:
                group.rmdir()
            container.remove_directories()

    def create_network(self, name: str, address: str) -> int:
        self._host.apply([add_bridge(name)])
        index = self._host.index(name)
        self._host.apply([add_address(index, IPv4Interface(address)), set_up(index)])
        return index

    def remove_network(self, name: str) -> None:
        self._host.apply([delete_link(name)])

    def reap_links(self) -> None:
        self._host.apply([delete_group(GROUP)])


class Container:
    """One container's directories, process and groups."""

    pid: int
    groups: list[Path]

    def __init__(self, directory: Path, index: int) -> None:
        self.index = index
        self.directory = directory

    def make_directories(self) -> None:
        for name in ("", "upper", "work", "root"):
            (self.directory / name).mkdir()
        for name in ("", "upper", "work"):
            os.chown(self.directory / name, ID_BASE, ID_BASE)

    def remove_directories(self) -> None:
        work = self.directory / "work/work"
        with suppress(OSError):
            work.rmdir()
        for name in ("upper", "work", "root", ""):
            with suppress(OSError):
                (self.directory / name).rmdir()


def _be_container(image: Path, container: Container, groups: list[Path], mapped: int, go: int) -> None:
    """The child: mounts once its ids are mapped, exec when told. Never returns."""
    try:
        _join(groups)
        os.read(mapped, 1)
        os.setuid(0)
        os.setgid(0)
        prctl.die_with_parent(signal.SIGKILL)
        _mount(b"", b"/", b"", MS_REC | MS_PRIVATE)
        root = container.directory / "root"
        options = f"lowerdir={image},upperdir={container.directory}/upper,workdir={container.directory}/work,userxattr"
        _mount(b"overlay", os.fsencode(root), b"overlay", 0, options.encode())
        os.chdir(root)
        _mount(b"proc", b"proc", b"proc", 0xE)
        _mount(b"sysfs", b"sys", b"sysfs", 0xF)
        _mount(b"tmpfs", b"dev", b"tmpfs", 0x2, b"mode=755")
        for name in ("pts", "shm", "mqueue"):
            Path("dev", name).mkdir()
        _mount(b"devpts", b"dev/pts", b"devpts", 0xA, b"newinstance,ptmxmode=0666")
        _mount(b"tmpfs", b"dev/shm", b"tmpfs", 0xE)
        _mount(b"mqueue", b"dev/mqueue", b"mqueue", 0xE)
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            os.close(os.open(f"dev/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
            _mount(f"/dev/{name}".encode(), f"dev/{name}".encode(), b"", MS_BIND)
        _check(_libc.syscall(155, b".", b"."))  # pivot_root
        _check(_libc.umount2(b".", 2))
        os.chdir("/")
        _check(_libc.sethostname(b"floor", 5))
        os.read(go, 1)
        os.execv("/bin/sleep", ["sleep", "100000"])
    except BaseException as error:
        os.write(2, f"floor: {error!r}\n".encode())
    finally:
        os._exit(127)


def _host_end(container: Container, name: str) -> str:
    # By the process, not by its number in the row: the last one's link goes a moment after its namespace.
    return f"nmf{name}{container.pid}"


def _join(groups: list[Path]) -> None:
    """By the child itself: to move another process waits for a grace period, on version 1."""
    for group in groups:
        tasks = group / "tasks"
        (tasks if tasks.exists() else group / "cgroup.procs").write_text("0")


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes = b"") -> None:
    _check(_libc.mount(source or None, target, kind or None, ctypes.c_ulong(flags), data or None), target)


def _check(result: int, what: object = "") -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)


def _cgroup_roots() -> list[str]:
    """Version 1's hierarchies, and the second's where it has the controllers."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    v1 = [fields[1] for fields in mounts if fields[2] == "cgroup" and "name=" not in fields[3]]
    return v1 or [fields[1] for fields in mounts if fields[2] == "cgroup2"]


def _inherit_cpuset(group: Path) -> None:
    """A v1 cpuset takes no process before it has processors and memory."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / name).exists() and "cpuset" in group.parts:
            (group / name).write_text((group.parent / name).read_text())


@contextmanager
def _floor(directory: Path) -> Iterator[Floor]:
    floor = Floor(directory)
    try:
        yield floor
    finally:
        floor.close()


def measure(directory: Path, repetitions: int, sizes: list[int]) -> Clock:
    clock = Clock()
    with _floor(directory) as floor:
        for index in range(repetitions):
            with clock.time("run"):
                container = floor.run(index)
            with clock.time("exec"):
                floor.execute(container)
            with clock.time("rm -f"):
                floor.remove([container])
        _measure_networks(floor, clock, repetitions)
        _measure_ports(clock, repetitions)
        for size in sizes:
            _measure_topology(floor, clock, size)
    return clock


def _measure_networks(floor: Floor, clock: Clock, repetitions: int) -> None:
    container = floor.run(0)
    second = floor.create_network(SECOND, "10.198.0.1/16")
    for index in range(repetitions):
        with clock.time("network create"):
            floor.create_network("nmfloor3", "10.197.0.1/16")
        with clock.time("network rm"):
            floor.remove_network("nmfloor3")
        with clock.time("connect"):
            floor.attach(container, second, f"e{index}", IPv4Address("10.198.0.2"))
        with clock.time("disconnect"):
            floor.detach(container, f"e{index}")
        floor.reap_links()
    floor.remove([container])
    floor.remove_network(SECOND)


def _measure_ports(clock: Clock, repetitions: int) -> None:
    """A hundred map elements in one transaction, through libnftables in its own process."""
    worker = NftWorker()
    worker.run("table inet nmfloor { map m { type inet_proto . inet_service : ipv4_addr . inet_service; }\n}\n")
    keys = [f"tcp . {20000 + 2 * port}" for port in range(PORTS)]
    elements = ", ".join(f"{key} : 10.199.0.2 . 80" for key in keys)
    for _ in range(repetitions):
        with clock.time("publish 100 ports"):
            worker.run(f"add element inet nmfloor m {{ {elements} }}\n")
        with clock.time("remove them"):
            worker.run(f"delete element inet nmfloor m {{ {', '.join(keys)} }}\n")
    worker.run("delete table inet nmfloor\n")
    worker.close()


def _measure_topology(floor: Floor, clock: Clock, size: int) -> None:
    with clock.time(f"{size} nodes up, a node", per=size):
        containers = [floor.run(index) for index in range(size)]
    with clock.time(f"{size} nodes down, a node", per=size):
        floor.remove(containers)


def main() -> None:
    directory, repetitions, *sizes = sys.argv[1:]
    clock = measure(Path(directory), int(repetitions), [int(size) for size in sizes])
    while reap():
        pass
    print(json.dumps({name: samples.values for name, samples in clock.samples.items()}))


if __name__ == "__main__":
    main()
