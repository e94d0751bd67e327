"""Lists and figures for whoever looks: filtered as Docker filters them, and pruning, which is a filter too."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from drivers.bridge import Bridge
from drivers.kernel.sysctl import read_sysctl
from netmodel import __version__
from netmodel.engine import apparmor
from netmodel.engine.core import Core
from netmodel.engine.filters import Filters, apply, has_label, matches, moment, one_of, truth
from netmodel.engine.handed_on import handed_on
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.networks import PREDEFINED, Networks
from netmodel.engine.settings import said
from netmodel.engine.values import Info
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Conflict, Invalid, NotFound
from netmodel.model import Container, Endpoint, Network, PortConfig, Status, Volume

_TYPES = ("builtin", "custom")
_FORWARDING = "net/ipv4/ip_forward"


def networks(core: Core, filters: Filters | None) -> list[Network]:
    def dangling(network: Network, wanted: str) -> bool:
        return truth(wanted) == (network.name not in PREDEFINED and not core.records.endpoints_on(network.id))

    return apply(
        (network for network in core.records.networks if network.state == "ready"),
        filters,
        {
            "dangling": dangling,
            "driver": lambda network, wanted: network.config.driver == wanted,
            "id": lambda network, wanted: matches(network.id, wanted),
            "label": lambda network, wanted: has_label(network.config.labels, wanted),
            "label!": lambda network, wanted: not has_label(network.config.labels, wanted),
            "name": lambda network, wanted: matches(network.name, wanted),
            "scope": lambda network, wanted: core.driver(network.config.driver).scope == wanted,
            "type": lambda network, wanted: one_of(wanted, _TYPES) == _TYPES[network.name not in PREDEFINED],
            "until": lambda network, wanted: network.created_at < moment(wanted),
        },
    )


def prune_networks(core: Core, parts: Networks, filters: Filters | None) -> list[str]:
    """Settings alone are on no container, and stay: they wait for networks to take them."""
    removed = []
    for network in networks(core, {**(filters or {}), "dangling": ["true"]}):
        if network.config.config_only:
            continue
        try:
            parts.remove(network.id)
        except (Conflict, NotFound):
            continue  # somebody joined or removed it meanwhile
        removed.append(network.name)
    core.events.publish("network", "prune", "", {"reclaimed": "0"})  # a network takes no space
    return removed


def endpoints(core: Core, container_id: str | None, network_id: str | None) -> list[Endpoint]:
    if container_id is not None:
        found = core.records.endpoints_of(container_id)
        return [one for one in found if network_id is None or one.network_id == network_id]
    return core.records.endpoints_on(network_id) if network_id is not None else core.records.endpoints()


def containers(core: Core, everything: bool, filters: Filters | None) -> list[Container]:
    """Newest first."""
    records = core.records

    def on_network(container: Container, wanted: str) -> bool:
        joined = (records.networks.get(one.network_id) for one in records.endpoints_of(container.id))
        return wanted == container.config.network_mode or any(
            network.name == wanted or network.id.startswith(wanted) for network in joined if network
        )

    tests = {
        "before": lambda container, wanted: container.created_at < records.containers.find(wanted).created_at,
        "since": lambda container, wanted: container.created_at > records.containers.find(wanted).created_at,
        "expose": lambda container, wanted: _has_port(container.config.exposed_ports, wanted),
        "publish": lambda container, wanted: _has_port(container.ports, wanted),
        "ancestor": lambda container, wanted: wanted in (container.config.image, container.image_id),
        "exited": lambda container, wanted: (
            container.state.status == "exited" and str(container.state.exit_code) == wanted
        ),
        "health": lambda container, wanted: wanted == ((container.state.running and container.state.health) or "none"),
        "id": lambda container, wanted: container.id.startswith(wanted),
        "label": lambda container, wanted: has_label(container.config.labels, wanted),
        "label!": lambda container, wanted: not has_label(container.config.labels, wanted),
        "name": lambda container, wanted: _named(container, wanted),
        "network": on_network,
        "is-task": lambda container, wanted: not truth(wanted),  # those are a swarm's
        "status": lambda container, wanted: container.state.status == one_of(wanted, get_args(Status)),
        "volume": lambda container, wanted: any(wanted in (m.source, m.target) for m in container.config.mounts),
        "until": lambda container, wanted: container.created_at < moment(wanted),
    }
    asks_for_status = bool(filters and (filters.get("status") or filters.get("exited")))
    shown = (
        container
        for container in records.containers
        if not container.creating and (everything or asks_for_status or container.state.running)
    )
    return sorted(apply(shown, filters, tests), key=lambda container: container.created_at, reverse=True)


def _named(container: Container, wanted: str) -> bool:
    """Docker's: a regular expression that is found in the name, with or without the slash before it."""
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise Invalid(f"name={wanted} is no regular expression: {error}", "write a part of the name") from error
    return bool(pattern.search(container.name) or pattern.search(f"/{container.name}"))


def _has_port(ports: Sequence[PortConfig], wanted: str) -> bool:
    """ "80", "80/udp" or "8000-8010/tcp"."""
    numbers, _, protocol = wanted.partition("/")
    first, _, last = numbers.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise Invalid(f"port filter {wanted!r} is no port", "80, 80/udp or 8000-8010/tcp")
    low, high = int(first), int(last or first)
    return any(low <= port.container_port <= high and port.protocol == (protocol or "tcp") for port in ports)


def prune_containers(core: Core, lifecycle: Lifecycle, filters: Filters | None) -> tuple[list[str], int]:
    """Those that do not run, and have; or never did."""
    if unknown := sorted(set(filters or {}).difference(("label", "label!", "until"))):
        raise Invalid(f"invalid filter {unknown[0]!r}", "there are: label, label!, until")
    removed, freed = [], 0
    for container in containers(core, True, {**(filters or {}), "status": ["created", "exited", "dead"]}):
        size = core.layers.size(container.id)
        with suppress(Conflict, NotFound):  # somebody started or removed it meanwhile
            lifecycle.remove(container.id, force=False, volumes=False)
            removed.append(container.id)
            freed += size
    core.events.publish("container", "prune", "", {"reclaimed": str(freed)})
    return removed, freed


def volumes(core: Core, parts: EngineVolumes, filters: Filters | None) -> list[Volume]:
    found = apply(
        core.records.volumes(),
        filters,
        {
            "dangling": lambda volume, wanted: truth(wanted) == (not parts.users(volume.name)),
            "driver": lambda volume, wanted: volume.config.driver == wanted,
            "label": lambda volume, wanted: has_label(volume.config.labels, wanted),
            "label!": lambda volume, wanted: not has_label(volume.config.labels, wanted),
            "name": lambda volume, wanted: matches(volume.name, wanted),
        },
    )
    return sorted(found, key=lambda volume: volume.name)


def prune_volumes(core: Core, parts: EngineVolumes, filters: Filters | None) -> tuple[list[str], int]:
    """Anonymous ones that nobody uses; with all=true named ones too. The bytes that this frees come with the names."""
    wanted = dict(filters or {})
    everything = any(truth(value) for value in wanted.pop("all", ()))
    removed, freed, awaited = [], 0, handed_on(core.records)
    for volume in volumes(core, parts, {**wanted, "dangling": ["true"]}):
        if volume.name in awaited or not (volume.anonymous or everything):
            continue
        size = parts.usage(volume.name)
        with suppress(Conflict):  # a container came meanwhile
            parts.remove(volume.name, force=True)
            removed.append(volume.name)
            freed += size
    return removed, freed


def info(core: Core, warnings: list[str]) -> Info:
    statuses = [container.state.status for container in core.records.containers]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Info(
        id=core.root.id,
        root=core.root.path,
        version=__version__,
        pid=os.getpid(),
        spawner_pid=core.spawner.pid,
        kernel=Path("/proc/sys/kernel/osrelease").read_text().strip(),
        cpus=os.cpu_count() or 1,
        memory_bytes=memory,
        cgroup_version=core.cgroups.version,
        containers=len(statuses),
        containers_running=statuses.count("running"),
        containers_paused=statuses.count("paused"),
        containers_stopped=len(statuses) - statuses.count("running") - statuses.count("paused"),
        images=len(core.images.list()),
        networks=len(core.records.networks),
        settings=said(core.settings),
        forwards=read_sysctl(_FORWARDING) == "1",
        storage_driver=core.images.layers.driver.name,
        apparmor=apparmor.enabled(),
        cdi_directories=core.cdi.directories,
        cdi_devices=tuple(core.cdi.names()),
        warnings=(
            *warnings,
            *core.cdi.problems(),
            *_no_profile(core),
            *_changed_settings(core),
            *_left_off(core),
            *_other_storage(core),
            *_no_realtime(core),
        ),
    )


def _left_off(core: Core) -> list[str]:
    """What networks would need of the host, and a setting keeps from it."""
    if core.settings.ip_forward is not False or read_sysctl(_FORWARDING) != "0":
        return []
    name = _FORWARDING.replace("/", ".")
    return [f"{name} is off, and setting ip-forward=false leaves it so: networks lead nowhere and publish nothing"]


def _other_storage(core: Core) -> list[str]:
    """A driver that was asked for too late."""
    wanted, there = core.settings.storage_driver, core.images.layers.driver.name
    if wanted in (None, there):
        return []
    return [f"storage-driver={wanted} waits for an empty store: images are kept by {there} as long as there are layers"]


def _no_profile(core: Core) -> list[str]:
    problem = core.confinement.default_profiles.problem
    return [f"containers have no AppArmor profile of ours: {problem}"] if problem else []


def _no_realtime(core: Core) -> list[str]:
    """What the machine cannot give, whatever the setting says."""
    if core.settings.rt_runtime_us is None or core.cgroups.supports("realtime"):
        return []
    return ["setting cpu-rt-runtime has no effect: this machine deals out no time for real-time tasks"]


def _changed_settings(core: Core) -> list[str]:
    """What this engine changed of the host itself."""
    bridge = core.drivers["bridge"]
    assert isinstance(bridge, Bridge)
    changed = bridge.forwarding_changed
    return [f"{setting} was off and is on now, for others as well: networks need it" for setting in changed]
