"""What the engine is asked for and what it remembers, as plain values.

A *Config* is a user's wish, the same whether it came from the CLI, the API or a topology. A record
(Network, Endpoint, Container, Volume) is a wish together with what the engine decided about it; the
store keeps records and nothing else. Names of fields are Docker's where Docker has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

from drivers.lease import Lease

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network
NetworkProtocol = Literal["tcp", "udp", "sctp"]
Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
Propagation = Literal["private", "rprivate", "slave", "rslave", "shared", "rshared"]
BindRecursive = Literal["enabled", "disabled", "writable", "readonly"]


# --- networks ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """One subnet as asked for; without a subnet any free one will do.

    Args:
        size: Prefix length, in bits, of the subnet to be found; None leaves that open, too.
        family: Of a pool that no address in it gives a family to.
    """

    subnet: IPNetwork | None = None
    size: int | None = None
    family: Literal[4, 6] = 4
    ip_range: IPNetwork | None = None
    gateway: IPAddress | None = None
    auxiliary: Mapping[str, IPAddress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """A network as asked for.

    Args:
        config_only: It is settings alone, for other networks to take; nobody can be on it.
        config_from: The network of that kind that the settings are taken from; "" is none.
    """

    name: str
    driver: str = "bridge"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] = field(default_factory=dict)
    pools: tuple[PoolConfig, ...] = ()
    config_only: bool = False
    config_from: str = ""

    @property
    def leased(self) -> bool:
        """Its endpoints have the addresses that a DHCP server lends them."""
        return self.ipam_driver == "dhcp"


# Docker's names of an auxiliary address that is more than one not to give out.
WAY_OUT = {4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPool:
    """A subnet the network holds."""

    subnet: IPNetwork
    gateway: IPAddress | None = None
    ip_range: IPNetwork | None = None
    auxiliary: Mapping[str, IPAddress] = field(default_factory=dict)

    @property
    def way_out(self) -> IPAddress | None:
        """What its members send to whatever leaves it: the gateway, unless another machine is named."""
        return self.auxiliary.get(WAY_OUT[self.subnet.version], self.gateway)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    id: str
    config: NetworkConfig
    created_at: datetime
    pools: tuple[NetworkPool, ...] = ()
    state: Literal["creating", "ready", "deleting"] = "ready"

    @property
    def name(self) -> str:
        return self.config.name


# --- endpoints --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """Another name for another container, which this one alone knows.

    Args:
        target: What the other one is called on the network; on the default network, once made, its id.
    """

    target: str
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """An attachment as asked for.

    Args:
        network: The network's name or id.
        priority: The order in which a container joins its networks, highest first; it sets neither
            interface names nor the gateway (Compose specification, 05-services.md).
        link_local_ips: Further addresses of the link, 169.254.0.0/16 or fe80::/10; no pool hands them out.
        gw_priority: The highest one's gateway becomes the default route.
    """

    network: str
    ipv4_address: IPv4Address | None = None
    ipv6_address: IPv6Address | None = None
    link_local_ips: tuple[IPAddress, ...] = ()
    aliases: tuple[str, ...] = ()
    mac_address: str | None = None
    interface_name: str | None = None
    priority: int = 0
    gw_priority: int = 0
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    links: tuple[LinkConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An attachment as it is.

    Args:
        addresses: At most one of each family, each with its subnet's prefix length.
        interface: The link's name in the sandbox ("eth0").
        lease: That its address comes from, where a DHCP server lends it.
    """

    id: str
    network_id: str
    container_id: str
    config: EndpointConfig
    mac: str
    interface: str
    addresses: tuple[IPInterface, ...] = ()
    lease: Lease | None = None


# --- containers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeConfig:
    name: str = ""  # "": the engine makes one up
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """What is mounted in a container.

    Args:
        source: Of a bind a path of the host, of a volume its name ("" is an anonymous one), of an image what
            one calls it.
        create_source: Make the directory of a bind when it is missing, as Compose's short form does.
        recursive: What of a bind is mounted below the source: with it, read-only as it is ("enabled", and
            "readonly" where that must not be left to the kernel), with it but writable, or not there.
        nocopy: An empty volume stays so, whatever the image has there.
        subpath: What of a volume or image is meant; a path below it.
        volume: How the volume is made if it is not there; its name does not count.
        image_id: The image that was meant when the container was made; set by the engine.
        shared_by: The container, by its id, that this was taken over from; set by the engine.
    """

    type: Literal["bind", "volume", "tmpfs", "image"]
    target: str
    source: str = ""
    read_only: bool = False
    propagation: Propagation | None = None
    create_source: bool = False
    recursive: BindRecursive = "enabled"
    nocopy: bool = False
    subpath: str = ""
    volume: VolumeConfig | None = None
    image_id: str = ""
    shared_by: str = ""
    tmpfs_size_bytes: int | None = None
    tmpfs_mode: int | None = None
    tmpfs_options: tuple[str, ...] = ()  # Mount options of tmpfs beside these: "exec", "uid=5"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesFrom:
    """Another container whose mounts are taken over.

    Args:
        container: Its name or id; "service:NAME", in a topology, is that service's first one.
        read_only: Whatever they are there; otherwise as they are there.
    """

    container: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortConfig:
    """A port to publish.

    Args:
        host_port: 0 lets the engine choose.
        host_port_end: Last one to choose from when a range is given for one container port; else 0.
        names: What SRV queries may call the service behind it, beside its number and IANA's name for it.
    """

    container_port: int
    protocol: NetworkProtocol = "tcp"
    host_address: IPAddress | None = None
    host_port: int = 0
    host_port_end: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UlimitConfig:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """A device of the host to be had in the container.

    Args:
        target: Its path there, below /dev; "" is the same as on the host.
        permissions: Letters of "rwm": read, write, make the node.
    """

    source: str
    target: str = ""
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlkioConfig:
    """A limit, or a weight, on one block device of the host; rates are a second's."""

    kind: Literal["weight", "read_bps", "write_bps", "read_iops", "write_iops"]
    device: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """A route declared with x-routes: "default via 10.1.0.1", "10.3.0.0/24 via 10.0.12.2", "10.9.0.0/16 dev eth1".

    Args:
        blackhole: What goes there is dropped in silence ("blackhole 10.9.0.0/16"); it has neither via nor dev.
    """

    destination: IPNetwork
    via: IPAddress | None = None
    dev: str | None = None
    blackhole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """What becomes of a container that has ended by itself.

    Args:
        max_retries: Of on-failure; 0 is no limit.
    """

    name: Literal["no", "always", "unless-stopped", "on-failure"] = "no"
    max_retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """How to find out whether a container does its work.

    Args:
        test: ("CMD", PROGRAM, ...), ("CMD-SHELL", TEXT) or ("NONE",); () is the image's.
        interval_s and the other times: 0 is the image's, or the default.
        retries: So many failures one after the other make it unhealthy; 0 as above.
    """

    test: tuple[str, ...] = ()
    interval_s: float = 0
    timeout_s: float = 0
    start_period_s: float = 0
    start_interval_s: float = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Where what it prints is kept, and how much of it.

    Args:
        driver: "json-file", "local" (the same, rotated unless the options say otherwise) or "none".
        options: Docker's: max-size, max-file, labels, labels-regex, env, env-regex, tag, compress, mode.
    """

    driver: str = "json-file"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """A container as asked for.

    Args:
        command: None takes the image's; entrypoint likewise. () is an empty one.
        network_mode: "bridge" (its networks), "none", "host" or "container:NAME-OR-ID".
        networks: In the order of their interfaces: the first is eth0. Empty with "bridge" is the
            default network.
        memory_bytes and the others of the limits: None is no limit. cpus is a number of processors.
        pids_limit: -1 is no limit.
        storage_bytes: How much it may write into its root; None is no limit.
        seccomp: "" is the default policy, "unconfined" none, all else a profile in Docker's JSON form.
        apparmor: "" is the engine's own profile where the machine runs AppArmor, "unconfined" none, else a profile.
        masked_paths, readonly_paths: None is the usual ones.
        cdi_devices: As their vendors call them, "vendor.com/class=name".
        device_rules: As the devices controller has them, "c 42:* rmw".
        extra_hosts: Addresses by name; several addresses of one name have commas between them.
        restart: Contradicts auto_remove.
        init: A small first process passes signals on and reaps what is left over.
        ipc_mode: "" or "private", "shareable" (others may share it), "none" (no /dev/shm), "host" or
            "container:NAME-OR-ID".
        pid_mode: "" is its own, "host" or "container:NAME-OR-ID".
        uts_mode: "" is its own, or "host".
        cgroupns_mode: "" or "private", or "host".
    """

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    stop_timeout_s: int = 10
    tty: bool = False
    open_stdin: bool = False
    auto_remove: bool = False
    read_only: bool = False
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = ""
    apparmor: str = ""
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    devices: tuple[DeviceConfig, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    device_rules: tuple[str, ...] = ()
    oom_score_adj: int | None = None
    userns_mode: str = ""  # As netmodel/userns.py has them
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ulimits: tuple[UlimitConfig, ...] = ()
    mounts: tuple[MountConfig, ...] = ()
    volumes_from: tuple[VolumesFrom, ...] = ()
    storage_bytes: int | None = None
    shm_bytes: int = 64 * 1024 * 1024
    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    pids_limit: int | None = None
    memory_reservation_bytes: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    cpu_quota_us: int | None = None  # instead of cpus; -1 is no limit
    cpu_period_us: int | None = None
    cpu_rt_runtime_us: int | None = None  # for real-time tasks, of each period
    cpu_rt_period_us: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    blkio_weight: int | None = None
    blkio: tuple[BlkioConfig, ...] = ()
    hugetlb_bytes: Mapping[str, int] = field(default_factory=dict)  # by page size, "2MB"
    network_mode: str = "bridge"
    networks: tuple[EndpointConfig, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    exposed_ports: tuple[PortConfig, ...] = ()
    publish_all: bool = False
    dns: tuple[IPAddress, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[RouteConfig, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    health: HealthConfig = HealthConfig()
    log: LogConfig = LogConfig()
    init: bool = False
    ipc_mode: str = ""
    pid_mode: str = ""
    uts_mode: Literal["", "host"] = ""
    cgroupns_mode: Literal["", "private", "host"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """Args:
    pid: Of its first process, in the host's PID namespace; 0 when it does not run.
    error: Why the last start failed, or "".
    health: "" without a health check.
    """

    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    health: Literal["", "starting", "healthy", "unhealthy"] = ""

    @property
    def running(self) -> bool:
        """In service: its sandbox and its ports are its own, though between two lives it has no process."""
        return self.status in ("running", "paused", "restarting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it is.

    Args:
        users: Whose user namespace it has, beside its sandbox's owner's: another container's id, whose processes or
            IPC it shares; "" is its own, or that owner's.
        idmap_base: Where its private range of 65,536 host ids begins; None is the host's user namespace.
        sandbox: Whose sandbox it uses: its own id, another container's, or "host".
        ports: What is published, each with the host port it got.
        image_id: Which image its name stood for when the container was made; "" when the name itself says.
        restart_count: How often its policy has started it again, since somebody did.
        stopped: Somebody wanted it to end; its policy then does not start it again.
        restarting: Its end is to be followed by another life: the intent of a restart.
        moving: Its published ports may be on their way to another network: the intent.
    """

    id: str
    name: str
    config: ContainerConfig
    created_at: datetime
    sandbox: str
    idmap_base: int | None
    state: ContainerState = field(default_factory=ContainerState)
    ports: tuple[PortConfig, ...] = ()
    image_id: str = ""
    creating: bool = False  # the intent: not yet whole
    removing: bool = False
    restart_count: int = 0
    stopped: bool = False
    restarting: bool = False
    moving: bool = False
    users: str = ""


# --- volumes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    config: VolumeConfig
    created_at: datetime
    anonymous: bool = False

    @property
    def name(self) -> str:
        return self.config.name
