"""Which keys a section of a topology may have: the Compose specification as data.

`supported` is read. `later` is in the specification but not built yet: named in a warning.
`silent` means nothing on one machine, so there is nothing to say. Keys that begin with x- are
everybody's; `ours` are those that mean something here, `ours_later` those that will.

Source: compose-spec/compose-spec, schema/compose-spec.json.
"""

from __future__ import annotations

from dataclasses import dataclass, field


def words(text: str) -> frozenset[str]:
    """A set of words, written so that a reader can scan it."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    supported: frozenset[str]
    later: frozenset[str] = field(default_factory=frozenset)
    silent: frozenset[str] = field(default_factory=frozenset)
    ours: frozenset[str] = field(default_factory=frozenset)
    ours_later: frozenset[str] = field(default_factory=frozenset)

    @property
    def all(self) -> frozenset[str]:
        return self.supported | self.later | self.silent | self.ours | self.ours_later


TOP = Keys(
    supported=words("name services networks volumes"),
    later=words("configs secrets include models"),
    silent=words("version"),
    ours=words("x-expect"),
)

SERVICE = Keys(
    supported=words(
        """
        image command entrypoint environment env_file working_dir user group_add
        container_name hostname domainname labels depends_on deploy scale
        networks network_mode mac_address links external_links ports expose dns dns_opt dns_search extra_hosts
        volumes volumes_from tmpfs read_only shm_size storage_opt
        cap_add cap_drop privileged security_opt sysctls ulimits userns_mode
        devices gpus device_cgroup_rules oom_score_adj
        mem_limit memswap_limit mem_reservation mem_swappiness oom_kill_disable pids_limit
        cpus cpu_shares cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpuset blkio_config
        stop_signal stop_grace_period tty stdin_open
        restart healthcheck init logging profiles ipc pid uts cgroup pull_policy
        """
    ),
    later=words(
        """
        annotations attach build cgroup_parent configs cpu_count cpu_percent
        credential_spec develop extends
        isolation label_file models platform post_start pre_stop provider
        runtime secrets use_api_socket
        """
    ),
    ours=words("x-routes"),
    ours_later=words("x-nat x-impair"),
)

ATTACHMENT = Keys(
    supported=words(
        "aliases ipv4_address ipv6_address link_local_ips mac_address interface_name priority gw_priority driver_opts"
    ),
    ours_later=words("x-impair"),
)

DEPLOY = Keys(
    supported=words("replicas resources restart_policy"),
    later=words("labels"),
    silent=words("mode endpoint_mode placement update_config rollback_config"),
)
RESOURCES = Keys(supported=words("limits reservations"))
RESERVATIONS = Keys(supported=words("memory devices"), later=words("generic_resources"), silent=words("cpus"))
DEVICE_REQUEST = Keys(supported=words("driver count device_ids capabilities"), later=words("options"))
BLKIO = Keys(
    supported=words("weight weight_device device_read_bps device_write_bps device_read_iops device_write_iops")
)
BLKIO_WEIGHT = Keys(supported=words("path weight"))
BLKIO_RATE = Keys(supported=words("path rate"))
DEVICE = Keys(supported=words("source target permissions"))
LIMITS = Keys(supported=words("cpus memory pids"))
DEPENDENCY = Keys(supported=words("condition required restart"))
HEALTHCHECK = Keys(supported=words("test interval timeout retries start_period start_interval disable"))
LOGGING = Keys(supported=words("driver options"))
RESTART_POLICY = Keys(supported=words("condition max_attempts"), silent=words("delay window"))
ENV_FILE = Keys(supported=words("path required format"))
PORT = Keys(supported=words("target published host_ip protocol name app_protocol"), silent=words("mode"))
STORAGE_OPT = Keys(supported=words("size"))
ULIMIT = Keys(supported=words("soft hard"))

MOUNT = Keys(
    supported=words("type source target read_only bind volume tmpfs image"),
    silent=words("consistency"),
)
MOUNT_BIND = Keys(supported=words("propagation create_host_path recursive"), silent=words("selinux"))
MOUNT_VOLUME = Keys(supported=words("nocopy subpath labels"))
MOUNT_IMAGE = Keys(supported=words("subpath"))
MOUNT_TMPFS = Keys(supported=words("size mode"))

NETWORK = Keys(
    supported=words("name driver driver_opts internal enable_ipv4 enable_ipv6 attachable ipam labels external"),
    ours=words("x-link"),
    ours_later=words("x-impair"),
)
IPAM = Keys(supported=words("driver config options"))
POOL = Keys(supported=words("subnet gateway ip_range aux_addresses"))
VOLUME = Keys(supported=words("name driver driver_opts labels external"))
EXTERNAL = Keys(supported=words("name"))

EXPECTATION = Keys(supported=words("icmp tcp udp within network family"), later=words("path"))
