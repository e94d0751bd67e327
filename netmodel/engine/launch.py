"""From a container's record to the spec the spawner clones: image defaults, capabilities, limits, mounts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from netmodel.engine.files import ContainerFiles, hostname_in
from netmodel.engine.init import with_init
from netmodel.engine.logattributes import attributes_of
from netmodel.engine.logconfig import limits_of
from netmodel.engine.mounts import tmpfs_mounts
from netmodel.errors import Invalid
from netmodel.model import Container, ContainerConfig
from netmodel.userns import kept_ids, maps_of, size_of
from runtime.cgroups.api import Feature
from runtime.defaults import DEFAULT_CAPABILITIES, DEFAULT_READONLY_PATHS, default_masked_paths
from runtime.images import Image
from runtime.images.host import ID as HOST
from runtime.spec import (
    BindMount,
    ContainerSpec,
    IdMap,
    IoLimit,
    LayersMount,
    Process,
    Resources,
    RootFs,
    Ulimit,
)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CPU_PERIOD_US = 100_000

# Source: Linux include/uapi/linux/capability.h, in the order of their numbers.
_CAPABILITY_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
    "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
CAPABILITIES = tuple(f"CAP_{name}" for name in _CAPABILITY_NAMES.split())

_IPC: dict[str, Literal["none", "host", "shareable"]] = {
    "none": "none",
    "host": "host",
    "shareable": "shareable",
    "container": "shareable",
}


def container_spec(
    container: Container,
    owner: Container,
    users: Container,
    image: Image,
    *,
    layer: tuple[Path, Path],
    below: str,
    files: ContainerFiles,
    log: Path,
    cgroups: tuple[str, ...],
    volumes: Sequence[BindMount | LayersMount],
) -> ContainerSpec:
    """Everything the spawner needs to clone a container.

    Args:
        owner: Whose sandbox it uses; itself mostly. The hostname and the files come from there.
        users: Whose user namespace it has; itself mostly.
        below: The layer beneath every image.
        volumes: Its binds, volumes and images, resolved; tmpfs mounts are found in its config.
    """
    config = container.config
    upper, work = layer
    names = owner.config if container.sandbox != "host" else config
    hostname = hostname_in(container, owner)
    kept = limits_of(config.log)
    spec = ContainerSpec(
        id=container.id,
        process=process_of(config, image, hostname),
        rootfs=RootFs(layers=layers_of(image, below), upper=str(upper), work=str(work), read_only=config.read_only),
        sandbox=container.sandbox,
        idmap=_idmap(container, users),
        users_of=container.users,
        hostname=hostname,
        domainname=names.domainname,
        log="" if config.log.driver == "none" else str(log),
        cgroups=cgroups,
        mounts=(*image.mounts, *volumes, *tmpfs_mounts(config), *_host_ipc(config)),
        files=_files(files, {mount.target for mount in config.mounts}),
        sysctls=tuple(config.sysctls.items()),
        masked_paths=_chosen(config, config.masked_paths, default_masked_paths()),
        readonly_paths=_chosen(config, config.readonly_paths, DEFAULT_READONLY_PATHS),
        devices=tuple(f"{device.source}:{device.target or device.source}" for device in config.devices),
        shm_bytes=config.shm_bytes,
        privileged=config.privileged,
        open_stdin=config.open_stdin,
        private_cgroup=config.cgroupns_mode != "host",
        private_pids=not config.pid_mode,
        pids_of=config.pid_mode.removeprefix("container:") if config.pid_mode.startswith("container:") else "",
        private_uts=config.uts_mode != "host",
        ipc=_IPC.get(config.ipc_mode.partition(":")[0], "private"),
        ipc_of=config.ipc_mode.removeprefix("container:") if config.ipc_mode.startswith("container:") else "",
        log_attributes=attributes_of(container, image),
        log_max_bytes=kept.size,
        log_files=kept.files,
        log_compressed=kept.compressed,
    )
    return with_init(spec) if config.init else spec


def layers_of(image: Image, below: str) -> tuple[str, ...]:
    """An image's layers, the topmost first; the machine's own root has all places, and may be no layer's neighbour."""
    return tuple(image.layers) if image.id == HOST else (*image.layers, below)


def _idmap(container: Container, users: Container) -> IdMap | None:
    if container.idmap_base is None:
        return None
    mode = users.config.userns_mode
    if (maps := maps_of(mode)) is not None:
        return IdMap(base=container.idmap_base, uids=maps.uids, gids=maps.gids)
    uid, gid = kept_ids(mode) or (None, None)
    return IdMap(base=container.idmap_base, size=size_of(mode), keep_uid=uid, keep_gid=gid)


def process_of(config: ContainerConfig, image: Image, hostname: str) -> Process:
    """The first process.

    Raises:
        Invalid: Neither the config nor the image says what to run.
    """
    entrypoint = image.config.entrypoint if config.entrypoint is None else config.entrypoint
    # A new entrypoint does away with the image's command, as in Docker.
    command = config.command
    if command is None:
        command = () if config.entrypoint is not None else image.config.cmd
    argv = (*entrypoint, *command)
    if not argv:
        raise Invalid(f"no command is given, and image {config.image} has none", "say what to run")
    return process_with(argv, config.tty, config, image, hostname)


def process_with(argv: tuple[str, ...], tty: bool, config: ContainerConfig, image: Image, hostname: str) -> Process:
    """Any process of a container."""
    return Process(
        argv=argv,
        environment=_environment(tty, config, image, hostname),
        working_dir=config.working_dir or image.config.working_dir or "/",
        user=config.user or image.config.user,
        groups=config.group_add,
        capabilities=capabilities_of(config),
        no_new_privileges=config.no_new_privileges,
        ulimits=tuple(Ulimit(name=limit.name, soft=limit.soft, hard=limit.hard) for limit in config.ulimits),
        terminal=tty,
        oom_score_adj=config.oom_score_adj,
    )


def _environment(tty: bool, config: ContainerConfig, image: Image, hostname: str) -> tuple[tuple[str, str], ...]:
    """Docker's few, then the image's, then the container's."""
    environment = {"PATH": _PATH, "HOSTNAME": hostname}
    if tty:
        environment["TERM"] = "xterm"
    environment.update(image.config.env)
    environment.update(config.environment)
    return tuple(environment.items())


def capabilities_of(config: ContainerConfig) -> tuple[str, ...]:
    """Docker's default set, with what is added and without what is dropped.

    Raises:
        Invalid: There is no such capability.
    """
    if config.privileged:
        return _of_this_machine()
    added, dropped = _names(config.cap_add), _names(config.cap_drop)
    base: Iterable[str] = DEFAULT_CAPABILITIES
    if "ALL" in added:
        base = _of_this_machine()
    elif "ALL" in dropped:
        base = ()
    wanted = (set(base) | added) - (dropped - added if "ALL" in dropped else dropped) - {"ALL"}
    return tuple(name for name in CAPABILITIES if name in wanted)


def _names(names: Iterable[str]) -> set[str]:
    found = set()
    for name in names:
        full = name.upper()
        if full != "ALL" and not full.startswith("CAP_"):
            full = f"CAP_{full}"
        if full != "ALL" and full not in CAPABILITIES:
            raise Invalid(f"no such capability: {name}", "see man 7 capabilities")
        found.add(full)
    return found


def _of_this_machine() -> tuple[str, ...]:
    """All that we could pass on: our own bounding set."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return tuple(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)


def device_rules_of(config: ContainerConfig) -> tuple[str, ...]:
    """Which devices beyond the usual it may use: "c 10:229 rw", or "/dev/fuse rw" for the node of a path."""
    return (*config.device_rules, *(f"{device.source} {device.permissions}" for device in config.devices))


def _chosen(config: ContainerConfig, wanted: tuple[str, ...] | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if wanted is not None:
        return wanted
    return () if config.privileged else usual


def resources_of(config: ContainerConfig, default_pids: int | None, counts: Callable[[Feature], bool]) -> Resources:
    """The limits of its control group.

    Args:
        default_pids: How many tasks one may have that says nothing about it and is not privileged.
        counts: Whether control groups of this machine have a feature.
    """
    pids = config.pids_limit
    if pids is None and not config.privileged:
        pids = default_pids
    quota, period = config.cpu_quota_us, config.cpu_period_us
    if config.cpus is not None:
        period = _CPU_PERIOD_US
        quota = round(config.cpus * period)
    return Resources(
        memory_bytes=config.memory_bytes,
        memory_swap_bytes=_swap_limit(config, counts),
        memory_reservation_bytes=config.memory_reservation_bytes,
        memory_swappiness=config.memory_swappiness,
        oom_kill_disable=config.oom_kill_disable or None,
        cpu_quota_us=quota,
        cpu_period_us=period,
        cpu_rt_runtime_us=config.cpu_rt_runtime_us,
        cpu_rt_period_us=config.cpu_rt_period_us,
        cpu_weight=config.cpu_shares,
        cpuset_cpus=config.cpuset_cpus or None,
        cpuset_mems=config.cpuset_mems or None,
        pids_max=pids,
        io_weight=config.blkio_weight,
        hugetlb_bytes=tuple(config.hugetlb_bytes.items()),
        io_limits=tuple(IoLimit(kind=one.kind, device=one.device, value=one.value) for one in config.blkio),
    )


def _swap_limit(config: ContainerConfig, counts: Callable[[Feature], bool]) -> int | None:
    """As in Docker: who is limited to some memory, and says nothing of swap, has as much of that."""
    memory = config.memory_bytes
    if config.memory_swap_bytes is not None or memory is None or not counts("swap"):
        return config.memory_swap_bytes
    return 2 * memory


def _host_ipc(config: ContainerConfig) -> tuple[BindMount, ...]:
    """POSIX shared memory goes by a directory, not by the namespace."""
    return (BindMount(source="/dev/shm", target="/dev/shm"),) if config.ipc_mode == "host" else ()


def _files(files: ContainerFiles, covered: set[str]) -> tuple[BindMount, ...]:
    """The files the engine provides, but for those the container brings itself."""
    ours = {"/etc/hosts": files.hosts, "/etc/resolv.conf": files.resolv_conf, "/etc/hostname": files.hostname}
    return tuple(
        BindMount(source=str(source), target=target) for target, source in ours.items() if target not in covered
    )


def signal_number(name: str) -> int:
    """A signal by name ("SIGTERM", "TERM") or number.

    Raises:
        Invalid: There is none.
    """
    text = name.upper()
    if text.isdigit() and 0 < int(text) <= signal.SIGRTMAX:
        return int(text)
    full = text if text.startswith("SIG") else f"SIG{text}"
    if full.startswith("SIGRTMIN+") and full[9:].isdigit():
        return signal.SIGRTMIN + int(full[9:])
    found = getattr(signal, full, None)
    if not isinstance(found, signal.Signals):
        raise Invalid(f"no such signal: {name}", "see man 7 signal")
    return int(found)
