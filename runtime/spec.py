"""What a container is made of, as plain values that cross the spawner's socket as JSON.

Everything is resolved here: paths are the host's, capabilities are named, limits are numbers. The
one thing that only the container can answer is a user's name, which its own /etc/passwd resolves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Propagation = Literal["private", "rprivate", "slave", "rslave", "shared", "rshared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """Ids 0 to size - 1 of the container are base to base + size - 1 of the host.

    Args:
        keep_uid, keep_gid: But for this one, which is the same on the host; never 0.
        uids, gids: Instead of all that, lines of first id inside, first id on the host, how many; 0 is base in both.
    """

    base: int
    size: int = 65536
    keep_uid: int | None = None
    keep_gid: int | None = None
    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()

    def lines(self, kind: Literal["uid", "gid"]) -> tuple[tuple[int, int, int], ...]:
        """The whole map, as the kernel takes it."""
        chosen, kept = (self.uids, self.keep_uid) if kind == "uid" else (self.gids, self.keep_gid)
        if chosen:
            return chosen
        if kept is None:
            return ((0, self.base, self.size),)
        parts = ((0, self.base, kept), (kept, kept, 1), (kept + 1, self.base + kept + 1, self.size - kept - 1))
        return tuple(part for part in parts if part[2] > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFs:
    """An overlay: read-only layers below, the container's own directory above.

    Args:
        layers: Directories of the host, the topmost first; ids on disk are the container's.
        upper: The writable layer; exists.
        work: Overlay's scratch directory, on the file system of upper; exists.
        read_only: The container cannot write to its root.
    """

    layers: tuple[str, ...]
    upper: str
    work: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A file or directory of the host, seen in the container; ids on disk are the container's.

    Args:
        target: Absolute, in the container; made if it is missing, never through a link that leaves the root.
        subpath: What of the source is meant; links in it lead nowhere outside the source.
        recursive: With what is mounted below the source.
        deep_read_only: read_only holds for what is mounted below the source as well.
        attributes: "nosuid", "nodev", "noexec", also of what is mounted below.
    """

    source: str
    target: str
    read_only: bool = False
    propagation: Propagation = "rprivate"
    subpath: str = ""
    recursive: bool = True
    deep_read_only: bool = True
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayersMount:
    """Layers of an image as one tree, read-only; ids on disk are the container's.

    Args:
        layers: Directories of the host, the topmost first.
        target: As of a bind.
        subpath: What of the tree is meant; links in it lead nowhere outside the tree.
    """

    layers: tuple[str, ...]
    target: str
    subpath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """Memory that looks like a directory."""

    target: str
    size_bytes: int | None = None
    mode: int = 0o1777
    options: tuple[str, ...] = ()  # "noexec", "nosuid", "nodev", "ro"


Mount = BindMount | LayersMount | TmpfsMount


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A node in the container's /dev that need not be like one of the host's.

    Args:
        path: Below /dev.
        kind: A character or block device, or a pipe with a name, which has no numbers.
        mode: Who may read and write it.
        uid, gid: Its owners, by the container's ids.
    """

    path: str
    kind: Literal["b", "c", "p"]
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A program of the host that finishes the container's root, as OCI's createContainer hooks do.

    Args:
        path: Absolute, on the host.
        argv: Its own name among it; () is the path alone.
        environment: Whole; () is a PATH.
        timeout_s: 0 is the usual limit.
    """

    path: str
    argv: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    timeout_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ulimit:
    """One resource limit by its name without RLIMIT_, lower case ("nofile"); -1 is no limit."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program to run in a container, its first or one beside it.

    Args:
        argv: Not empty; argv[0] is looked up in the environment's PATH inside the container.
        environment: Whole; nothing is inherited.
        user: "", "uid", "name", "uid:gid" or "name:group".
        capabilities: Names like "CAP_CHOWN": the bounding set, and what root (or ambient, for none) gets.
        terminal: It gets a pseudo-terminal of the container's own /dev/pts as its controlling one.
        seccomp: File of the host with the program that decides about its system calls, never changed once
            it is there; "" filters none.
        oom_score_adj: From -1000 (the kernel kills others first when memory is short) to 1000; None is the engine's.
        apparmor: Label it runs under; "" is the engine's.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = "/"
    user: str = ""
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    terminal: bool = False
    seccomp: str = ""
    oom_score_adj: int | None = None
    apparmor: str = ""
    umask: int = 0o022


IoKind = Literal["weight", "read_bps", "write_bps", "read_iops", "write_iops"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IoLimit:
    """What a container may do with one block device.

    Args:
        device: Its node on the host, "/dev/sda".
        value: Bytes or operations a second, 0 for no limit; for a weight Docker's, 10 to 1000.
    """

    kind: IoKind
    device: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits of a control group; None leaves the kernel's own.

    Args:
        memory_bytes: Hard limit; memory_swap_bytes counts memory and swap together, -1 no limit.
        cpu_quota_us: Time within each cpu_period_us that all its tasks may run together.
        cpu_rt_runtime_us: Time within each cpu_rt_period_us that real-time tasks may run, on every processor.
        cpu_weight: Docker's shares, 2 to 262144; 1024 is everybody's.
        pids_max: Number of tasks; -1 no limit.
        memory_reservation_bytes: What it may keep when memory is short.
        memory_swappiness: 0 to 100.
        oom_kill_disable: Out of memory it waits instead of being killed.
        cpuset_cpus, cpuset_mems: "0-2,7".
        io_weight: Docker's, 10 to 1000; 500 is everybody's.
        hugetlb_bytes: By page size, "2MB".
    """

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    memory_reservation_bytes: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    cpu_rt_runtime_us: int | None = None
    cpu_rt_period_us: int | None = None
    cpu_weight: int | None = None
    pids_max: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    io_weight: int | None = None
    io_limits: tuple[IoLimit, ...] = ()
    hugetlb_bytes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container, ready to be cloned.

    Args:
        id: 64 hexadecimal digits.
        sandbox: The name under which the spawner pins the network and user namespace: one that is
            pinned already is joined, another is made; "host" is the spawner's own network namespace.
        idmap: None runs in the host's user namespace.
        cgroups: Directories (one on v2, one a controller on v1) that exist; its processes go there.
        users_of: The name under which the user namespace that it has is pinned, where its own sandbox's is another
            or none; then idmap is that one's.
        pids_of: Id of a container of the same user namespace whose PID namespace it is in; then private_pids is false.
        ipc_of: Id of a container of the same user namespace whose IPC namespace and /dev/shm it has; then ipc is
            "shareable".
        private_cgroup, private_pids, private_uts: A namespace of its own of that kind, not the host's.
        ipc: "none" is a namespace of its own without /dev/shm; "shareable" one that is kept under its id until that
            is unpinned, for others and for its own next life.
        log: File for its output, a JSON object a line: time, stream, log. "" keeps none.
        log_attributes: A JSON object that each line has as attrs, as text; "" is none.
        log_max_bytes: The file then gets a number (log.1) and another is begun; 0 is never.
        log_files: So many there are at most, the one being written among them.
        log_compressed: Those that have a number are compressed (log.1.gz).
        files: Bind mounts the engine provides (/etc/hosts, /etc/resolv.conf, /etc/hostname).
        sysctls: Written inside the namespaces, "net.ipv4.ip_forward" to "1".
        privileged: All devices, nothing masked, /sys writable as far as the user namespace allows.
        devices: Nodes of the host, "/dev/fuse" or "/dev/sda:/dev/disk".
        nodes: Further ones; they go before those of the same path.
        hooks: Run in this order once all is mounted.
    """

    id: str
    process: Process
    rootfs: RootFs
    sandbox: str
    idmap: IdMap | None
    hostname: str
    log: str
    domainname: str = ""
    cgroups: tuple[str, ...] = ()
    private_cgroup: bool = True
    private_pids: bool = True
    users_of: str = ""
    pids_of: str = ""
    ipc_of: str = ""
    private_uts: bool = True
    ipc: Literal["private", "shareable", "none", "host"] = "private"
    log_attributes: str = ""
    log_max_bytes: int = 0
    log_files: int = 1
    log_compressed: bool = False
    mounts: tuple[Mount, ...] = ()
    files: tuple[BindMount, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    shm_bytes: int = 64 * 1024 * 1024
    privileged: bool = False
    open_stdin: bool = False
    devices: tuple[str, ...] = ()
    nodes: tuple[DeviceNode, ...] = ()
    hooks: tuple[Hook, ...] = ()
