"""What all parts of the engine share: the records, the locks, and the doors to the lower packages."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from drivers.api import Driver, Particular, Traits
from drivers.firewall import Firewall
from drivers.kernel.netlink import Netlink
from drivers.kernel.nft import NftWorker
from drivers.kernel.reaper import Reaper
from drivers.lease import OnSegment
from ipam.api import IpamDriver
from netmodel.cdi import Registry as CdiRegistry
from netmodel.dns import DnsServer, Zone
from netmodel.engine.confinement import Confinement
from netmodel.engine.events import EventBus
from netmodel.engine.idranges import IdRanges
from netmodel.engine.link_options import announcements, of_driver
from netmodel.engine.locks import Locks
from netmodel.engine.records import Records
from netmodel.engine.root import Root
from netmodel.engine.settings import Settings
from netmodel.errors import Invalid
from netmodel.model import NetworkConfig
from runtime.cgroups import Cgroups
from runtime.client import Spawner
from runtime.images import Images
from runtime.rootfs import Layers
from runtime.volumes import Driver as VolumeDriver

T = TypeVar("T")
_LATER = ("overlay",)  # users of Docker know it


@dataclass(slots=True, kw_only=True)
class Core:
    """Made once when the engine opens; closed by the engine. Only the spawner is ever replaced: when it died."""

    root: Root
    records: Records
    locks: Locks
    events: EventBus
    id_ranges: IdRanges
    ipam: Mapping[str, IpamDriver]
    drivers: Mapping[str, Driver]
    settings: Settings
    host: Netlink
    nft: NftWorker
    firewall: Firewall
    reaper: Reaper
    spawner: Spawner
    cgroups: Cgroups
    images: Images
    layers: Layers
    confinement: Confinement
    cdi: CdiRegistry
    volumes: Mapping[str, VolumeDriver]
    zone: Zone
    dns: DnsServer
    _replaced: threading.Condition = field(default_factory=threading.Condition)

    def replace_spawner(self, spawner: Spawner) -> None:
        """Work with another one from now on, and let go on who waits for that."""
        with self._replaced:
            self.spawner = spawner
            self._replaced.notify_all()

    def has_spawner_after(self, dead: Spawner, timeout_s: float) -> bool:
        """Wait until one that died is replaced; False when that takes too long."""
        with self._replaced:
            return self._replaced.wait_for(lambda: self.spawner is not dead, timeout_s)

    def driver(self, name: str) -> Driver:
        """A network driver by name.

        Raises:
            Invalid: There is none of that name; says which there are.
        """
        if name in _LATER and name not in self.drivers:
            raise Invalid(
                f"network driver {name} is not in this version of netmodel",
                f"there are: {', '.join(sorted(self.drivers))}; `netmodel doctor` shows what this kernel could do",
            )
        return _known("network driver", name, self.drivers)

    def traits(self, config: NetworkConfig) -> Traits:
        """How a network differs from most.

        Raises:
            Invalid, InvalidOption: There is no such driver, or no such option of it.
        """
        driver = self.driver(config.driver)
        if isinstance(driver, Particular):
            return driver.traits(driver.parse(of_driver(config.options)), config.internal)
        return Traits()

    def options(self, config: NetworkConfig) -> Any:
        """A network's options as its driver has read them.

        Raises:
            Invalid, InvalidOption: There is no such option, or its value does not fit.
        """
        if config.config_only:  # they are for the drivers of the networks that will take them
            return None
        announcements(config.options)
        return self.driver(config.driver).parse(of_driver(config.options))

    def segment(self, config: NetworkConfig, options: Any) -> str:
        """The host's link by which a network is on the segment whose server lends its addresses.

        Raises:
            Invalid, DriverError: No server can be reached on such a network.
        """
        driver = self.driver(config.driver)
        if not config.enable_ipv4:
            raise Invalid(
                f"network {config.name} would have no use for a DHCP server: IPv4 is off",
                "leave it on; IPv6 addresses come from the segment's routers",
            )
        if not isinstance(driver, OnSegment):
            able = ", ".join(sorted(name for name, one in self.drivers.items() if isinstance(one, OnSegment)))
            raise Invalid(f"no DHCP server could be reached on a network of driver {config.driver}", f"use {able}")
        return driver.segment(options)

    def ipam_driver(self, name: str) -> IpamDriver:
        return _known("IPAM driver", name, self.ipam)


def _known(kind: str, name: str, registry: Mapping[str, T]) -> T:
    found = registry.get(name)
    if found is None:
        near = get_close_matches(name, registry, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise Invalid(f"no such {kind}: {name}", f"{guess}there are: {', '.join(sorted(registry))}")
    return found
