"""What a container may not ask for: combinations that contradict each other, said before anything is made."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Sequence
from pathlib import Path

from netmodel.engine import init
from netmodel.engine.confinement import check_confinement
from netmodel.engine.healthconfig import check_health
from netmodel.engine.launch import capabilities_of, signal_number
from netmodel.engine.logattributes import check_attributes
from netmodel.engine.logconfig import limits_of
from netmodel.engine.mounts import check_mounts
from netmodel.engine.namespaces import IPC_SYSCTLS, check_namespaces
from netmodel.engine.realtime import check_realtime
from netmodel.errors import Conflict, Invalid, MissingFeature
from netmodel.model import ContainerConfig, PortConfig
from netmodel.userns import check_userns
from runtime.cgroups.blocks import block_device
from runtime.cgroups.devices import checked, rule_of
from runtime.cgroups.hugepages import page_sizes
from runtime.kernel.prctl import has_capability

_HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9][a-zA-Z0-9_-]{0,62})*")
_UTS_SYSCTLS = ("kernel.hostname", "kernel.domainname")
_MIN_MEMORY = 512 * 1024
_ULIMITS = sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE")


def check_container(config: ContainerConfig) -> None:
    """Refuse what cannot be.

    Raises:
        Invalid, Conflict: Says which and why.
    """
    if not config.image:
        raise Invalid("no image is given", 'name one; "host" is the machine\'s own file system')
    _check_image(config.image)
    _check_network_mode(config)
    for name in config.sysctls:
        _check_sysctl(name, config)
    check_mounts(config.mounts)
    if config.hostname and (len(config.hostname) > 64 or not _HOSTNAME.fullmatch(config.hostname)):
        raise Invalid(f"hostname {config.hostname!r} is not allowed", "letters, digits, '-' and '.', at most 64")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise Invalid(f"working directory {config.working_dir!r} is not absolute", "begin it with '/'")
    _check_restart(config)
    check_health(config.health)
    check_namespaces(config)
    limits_of(config.log)
    check_attributes(config)
    if config.init:
        init.find()
    _check_limits(config)
    _check_ports(config.ports)
    check_userns(config.userns_mode)
    _check_capabilities(config)
    check_confinement(config)
    for rule in config.device_rules:
        checked(rule)
    for device in config.devices:
        rule_of(device.source)
    _check_score(config.oom_score_adj)
    if config.storage_bytes is not None and config.storage_bytes < 1:
        raise Invalid(f"a root of {config.storage_bytes} bytes holds nothing", "write its size like 512m or 10g")
    if config.stop_signal:
        signal_number(config.stop_signal)


def _check_image(image: str) -> None:
    """A directory is an image; one that holds another and says how to run it is what runc takes."""
    if image.startswith("/") and Path(image, "config.json").is_file() and Path(image, "rootfs").is_dir():
        raise MissingFeature(
            f"{image} is an OCI bundle, and its config.json is not read here",
            f"run its root file system, with options for the rest: {image.rstrip('/')}/rootfs",
        )


def _check_capabilities(config: ContainerConfig) -> None:
    wanted = capabilities_of(config)
    if config.userns_mode != "host" or config.privileged or not config.cap_add:
        return  # a user namespace of its own has them all, whatever the machine lacks
    named = {name.upper().removeprefix("CAP_") for name in config.cap_add}
    for name in wanted:
        if name.removeprefix("CAP_") in named and not has_capability(name):
            raise MissingFeature(
                f"capability {name} cannot be given: this machine has not got it itself",
                "leave out userns_mode: host; in a user namespace of its own the container has it",
            )


def _check_score(score: int | None) -> None:
    if score is None:
        return
    if not -1000 <= score <= 1000:
        raise Invalid(f"oom_score_adj {score} is out of range", "from -1000 to 1000")
    own = int(Path("/proc/self/oom_score_adj").read_text())
    if score < own and not has_capability("CAP_SYS_RESOURCE"):
        raise MissingFeature(
            f"oom_score_adj {score} is below the engine's own {own}, which takes CAP_SYS_RESOURCE on this machine",
            "ask for more, or run the engine where it has that capability",
        )


def _check_restart(config: ContainerConfig) -> None:
    policy = config.restart
    if policy.name != "no" and config.auto_remove:
        raise Conflict(f"restart policy {policy.name} and removal at its end (--rm) exclude each other", "choose one")
    if policy.max_retries < 0 or (policy.max_retries and policy.name != "on-failure"):
        raise Invalid(f"restart policy {policy.name} takes no number of retries", "on-failure:3 does")


def _check_network_mode(config: ContainerConfig) -> None:
    mode = config.network_mode
    if mode not in ("bridge", "none", "host") and not mode.startswith("container:"):
        raise Invalid(f"no such network mode: {mode}", "bridge, none, host or container:NAME")
    if mode == "bridge":
        return
    if config.networks:
        raise Conflict(f"network mode {mode} and networks exclude each other", "leave out one of them")
    if mode.startswith("container:"):
        for value, what in ((config.hostname, "a hostname"), (config.ports, "published ports")):
            if value:
                raise Conflict(
                    f"{what} and network mode {mode} exclude each other", "set it on the container whose network it is"
                )
    if config.routes:
        raise Conflict(f"routes and network mode {mode} exclude each other", "declare them where the network is")


def _check_sysctl(name: str, config: ContainerConfig) -> None:
    if name.startswith("net."):
        if config.network_mode != "bridge" and config.network_mode != "none":
            raise Conflict(
                f"sysctl {name} cannot be set in network mode {config.network_mode}: it would change another's network",
                "set it on the container that owns the network",
            )
        return
    if name in _UTS_SYSCTLS:
        raise Invalid(f"sysctl {name} is set by hostname and domainname", "use those")
    if not IPC_SYSCTLS.fullmatch(name):
        raise Invalid(
            f"sysctl {name} has no namespace of its own: it would change the host",
            "net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* are a container's own",
        )
    if not Path("/proc/sys", *name.split(".")).exists():
        raise Invalid(f"this kernel has no sysctl {name}")


def _check_limits(config: ContainerConfig) -> None:
    memory, swap = config.memory_bytes, config.memory_swap_bytes
    if memory is not None and memory < _MIN_MEMORY:
        raise Invalid(f"a memory limit of {memory} bytes is too small to start anything", "at least 512 KiB")
    if swap is not None and swap != -1:
        if memory is None:
            raise Invalid("a limit of memory and swap needs a memory limit", "set both")
        if swap < memory:
            raise Invalid("the limit of memory and swap is below that of memory alone", "it counts both together")
    _check_memory(config)
    _check_cpus(config.cpus)
    _check_quota(config)
    check_realtime(config.cpu_rt_runtime_us, config.cpu_rt_period_us)
    for value in (config.blkio_weight, *(one.value for one in config.blkio if one.kind == "weight")):
        if value is not None and not 10 <= value <= 1000:
            raise Invalid(f"a block I/O weight of {value} is out of range", "from 10 to 1000; 500 is everybody's")
    for one in config.blkio:
        block_device(one.device)
    for page, most in config.hugetlb_bytes.items():
        if page not in page_sizes():
            raise Invalid(
                f"this machine has no huge pages of {page}", f"there are: {', '.join(page_sizes()) or 'none at all'}"
            )
        if most < 0:
            raise Invalid(f"a limit of {most} bytes of huge pages is none", "0 lets it have none")
    if config.pids_limit is not None and config.pids_limit != -1 and config.pids_limit < 1:
        raise Invalid(f"a limit of {config.pids_limit} processes lets nothing start", "at least 1, or -1 for none")
    for limit in config.ulimits:
        if limit.name not in _ULIMITS:
            raise Invalid(f"no such ulimit: {limit.name}", f"there are: {', '.join(_ULIMITS)}")
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise Invalid(f"ulimit {limit.name}: the soft limit {limit.soft} is above the hard one {limit.hard}")


def _check_memory(config: ContainerConfig) -> None:
    reservation, memory, swappiness = config.memory_reservation_bytes, config.memory_bytes, config.memory_swappiness
    if reservation is not None and memory is not None and reservation > memory:
        raise Invalid("the memory reservation is above the memory limit", "it is what it keeps when memory is short")
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise Invalid(f"a swappiness of {swappiness} is out of range", "from 0 to 100")


def _check_quota(config: ContainerConfig) -> None:
    quota, period = config.cpu_quota_us, config.cpu_period_us
    if config.cpus is not None and (quota is not None or period is not None):
        raise Invalid("cpus and a quota or period of CPU time exclude each other", "leave out one of them")
    if period is not None and not 1000 <= period <= 1_000_000:
        raise Invalid(f"a CPU period of {period} microseconds is out of range", "from 1000 to 1000000")
    if quota is not None and quota != -1 and quota < 1000:
        raise Invalid(f"a CPU quota of {quota} microseconds is too small", "at least 1000, or -1 for none")


def _check_cpus(cpus: float | None) -> None:
    if cpus is None:
        return
    if cpus < 0.01:
        raise Invalid(f"cpus {cpus:g} is too small", "at least 0.01")
    machine = os.cpu_count() or 1
    if cpus > machine:  # a quota that could never be used up
        raise Invalid(f"cpus {cpus:g} is more than the {machine} that this machine has", f"at most {machine}")


def _check_ports(ports: Sequence[PortConfig]) -> None:
    """Two bindings of one port and one address, where the address is known, contradict each other."""
    seen = set()
    for port in ports:
        if not port.host_port or port.host_port_end > port.host_port:
            continue  # the engine picks one that is free
        binding = (port.protocol, port.host_address, port.host_port)
        if binding in seen:
            where = f" on {port.host_address}" if port.host_address else ""
            raise Invalid(f"host port {port.host_port}/{port.protocol}{where} is published twice", "give each its own")
        seen.add(binding)
