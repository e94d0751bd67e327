"""Putting an engine together: what is opened in which order, and closed again in the other."""

from __future__ import annotations

import logging
import resource
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from drivers.api import Driver
from drivers.bridge import Bridge
from drivers.firewall import Firewall
from drivers.host import Host
from drivers.ipvlan import Ipvlan
from drivers.kernel.errors import KernelError
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.nft_watch import NftWatch
from drivers.kernel.reaper import Reaper
from drivers.macvlan import Macvlan
from drivers.null import Null
from drivers.p2p import P2p
from ipam import DefaultIpam, DhcpIpam, NullIpam
from ipam.api import IpamDriver
from ipam.subnets import DEFAULT_V4, ula_pool
from netmodel.cdi import Registry as CdiRegistry
from netmodel.dns import DnsServer, Zone
from netmodel.engine.announcer import Announcer
from netmodel.engine.apparmor import DefaultProfiles
from netmodel.engine.attach import Attachments
from netmodel.engine.committing import Committing
from netmodel.engine.confinement import Confinement
from netmodel.engine.connections import Connections
from netmodel.engine.containers import Containers
from netmodel.engine.copying import Copying
from netmodel.engine.core import Core
from netmodel.engine.default_network import DefaultNetwork
from netmodel.engine.endpoints import Endpoints
from netmodel.engine.events import EventBus
from netmodel.engine.execs import Execs
from netmodel.engine.exposures import Exposures
from netmodel.engine.files import read_text
from netmodel.engine.hostroutes import HostRoutes
from netmodel.engine.idranges import IdRanges
from netmodel.engine.images import EngineImages
from netmodel.engine.leases import Leases
from netmodel.engine.leaving import leave, pack_up
from netmodel.engine.lifecycle import Lifecycle
from netmodel.engine.limits import Limits
from netmodel.engine.locks import Locks
from netmodel.engine.logs import Logs
from netmodel.engine.networks import Networks
from netmodel.engine.projects import Projects
from netmodel.engine.readdressing import Readdressing
from netmodel.engine.realtime import chosen
from netmodel.engine.records import Records
from netmodel.engine.recover import Recovery
from netmodel.engine.root import Root
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.settings import Settings, read_settings
from netmodel.engine.volumes import EngineVolumes
from netmodel.errors import Invalid, translate
from netmodel.model import NetworkConfig
from netmodel.store import SqliteStore
from runtime.cgroups import Cgroups
from runtime.client import Spawner
from runtime.images import Images
from runtime.rootfs import Layers
from runtime.volumes import Volumes

log = logging.getLogger("netmodel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of an open engine."""

    core: Core
    networks: Networks
    containers: Containers
    connections: Connections
    lifecycle: Lifecycle
    limits: Limits
    execs: Execs
    copying: Copying
    committing: Committing
    exposures: Exposures
    logs: Logs
    volumes: EngineVolumes
    images: EngineImages
    projects: Projects
    _open: ExitStack

    def close(self) -> None:
        self._open.close()


def assemble(path: Path, events: EventBus, warnings: list[str], settings: Settings | None = None) -> Parts:
    """Open everything, repair what the last engine left, and listen.

    The calling thread's network namespace becomes the engine's host.

    Args:
        settings: Its pools go before those under the root.
    """
    with ExitStack() as opened:
        core = _core(path, events, settings, opened)
        routes = HostRoutes()
        opened.callback(routes.close)
        networks = Networks(core, routes)
        leases = Leases(core)
        endpoints = Endpoints(core, networks, leases)
        volumes = EngineVolumes(core)
        sandboxes = Sandboxes(core)
        opened.callback(sandboxes.close_all)
        announcer = Announcer()
        opened.callback(announcer.close)
        attachments = Attachments(core, networks, endpoints, sandboxes, announcer, leases)
        containers = Containers(core, endpoints, volumes)
        lifecycle = Lifecycle(core, containers, volumes, attachments, sandboxes)
        Recovery(
            core=core,
            networks=networks,
            endpoints=endpoints,
            attachments=attachments,
            containers=containers,
            lifecycle=lifecycle,
            volumes=volumes,
            warnings=warnings,
        ).run()
        _check_defaults(core)
        networks.ensure_predefined()
        DefaultNetwork(core, networks, endpoints, core.settings.default_bridge, warnings).ensure()
        opened.callback(pack_up, core, networks)
        opened.callback(events.close)
        opened.callback(lifecycle.close)
        lifecycle.open()
        opened.callback(leases.stop)
        leases.open(Readdressing(core, endpoints, attachments, sandboxes, lifecycle))
        projects = Projects(core, networks, containers, volumes, lifecycle)
        try:
            projects.recover()
        except Exception as error:  # an image is gone, a port is taken: the user's to repair, by another up or down
            warnings.append(f"a project is left half up: {translate(error)}")
        return Parts(
            core=core,
            networks=networks,
            containers=containers,
            connections=Connections(core, containers, endpoints, attachments, sandboxes, lifecycle),
            lifecycle=lifecycle,
            limits=Limits(core, containers, lifecycle),
            execs=Execs(core, containers),
            copying=Copying(core, containers, volumes),
            committing=Committing(core, containers, lifecycle),
            exposures=Exposures(core, networks, attachments),
            logs=Logs(containers, lifecycle),
            volumes=volumes,
            images=EngineImages(core, containers),
            projects=projects,
            _open=opened.pop_all(),
        )


def _check_defaults(core: Core) -> None:
    """Refuse to start with options that every new network would be refused for."""
    for driver, options in core.settings.default_network_options.items():
        try:
            core.options(NetworkConfig(name="", driver=driver, options=options))
        except Exception as error:
            what = translate(error)
            raise Invalid(f"{core.root.settings}: default-network-opts: {what.message}", what.hint) from error


def _core(path: Path, events: EventBus, settings: Settings | None, opened: ExitStack) -> Core:
    root = Root(path)
    opened.callback(root.close)
    root.open()
    events.keep_in(root.events)
    settings = read_settings(root.settings).overridden_by(settings)
    store = SqliteStore(root.database)
    opened.callback(store.close)
    records = Records(store)
    cgroups = Cgroups.detect(f"netmodel_{root.id}", chosen(settings.rt_runtime_us, settings.rt_period_us))
    # Started before there are threads or many descriptors.
    nft = NftWorker()
    opened.callback(nft.close)
    spawner = Spawner.connect(root.spawner)
    _raise_limit_of_files()
    host = Netlink()
    opened.callback(host.close)
    reaper = Reaper(root.id)
    opened.callback(reaper.close)
    firewall = Firewall(nft, root.id, settings.accepted_mark)
    opened.callback(firewall.close)
    firewall.install()
    watch = NftWatch(firewall.name, lambda: _repair(firewall, root, events))
    opened.callback(watch.close)
    bridge = Bridge(
        host,
        firewall,
        reaper,
        root.id,
        direct_routing=bool(settings.direct_routing),
        may_forward=settings.ip_forward is not False,
        relays=settings.relays is not False,
    )
    opened.callback(bridge.close)
    p2p = P2p(host, reaper, root.id)
    opened.callback(p2p.close)
    known: tuple[Driver, ...] = (bridge, p2p, Macvlan(host, root.id), Ipvlan(host, root.id), Host(), Null())
    drivers = {driver.name: driver for driver in known}
    seed = read_text(Path("/etc/machine-id")).strip() or read_text(Path("/proc/sys/kernel/hostname"))
    pools = DefaultIpam(settings.pools_of(4, DEFAULT_V4), settings.pools_of(6, (ula_pool(seed + root.id),)))
    ipam: dict[str, IpamDriver] = {driver.name: driver for driver in (pools, NullIpam(), DhcpIpam())}
    zone = Zone()
    dns = DnsServer(zone, servers=[str(server) for server in settings.resolver.servers])
    opened.callback(dns.stop)
    dns.start()
    core = Core(
        root=root,
        records=records,
        locks=Locks(),
        events=events,
        id_ranges=IdRanges(root.id, root.path),
        ipam=ipam,
        drivers=drivers,
        settings=settings,
        host=host,
        nft=nft,
        firewall=firewall,
        reaper=reaper,
        spawner=spawner,
        cgroups=cgroups,
        images=Images(root.images, root.path, settings.storage_driver or ""),
        layers=Layers(root.layers),
        confinement=Confinement(root.filters, cgroups, DefaultProfiles(f"netmodel_{root.id}")),
        cdi=CdiRegistry(settings.cdi_directories),
        volumes={Volumes.name: Volumes(root.volumes)},
        zone=zone,
        dns=dns,
    )
    opened.callback(leave, core)
    return core


def _repair(firewall: Firewall, root: Root, events: EventBus) -> None:
    """Somebody changed our rules, or took them away with everybody's: put back what is missing."""
    try:
        repaired = firewall.repair()
    except KernelError as error:
        log.error("the firewall's rules are gone and cannot be restored: %s", error)
        return
    if repaired:
        log.warning("somebody took the firewall's rules away; they are restored")
        events.publish("daemon", "reload", root.id, {"name": "firewall"})


def _raise_limit_of_files() -> None:
    """A running container costs the engine three descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
