"""The default network, which every container is on that names none: what the settings want of it, and making it so.

Docker makes it anew whenever its daemon starts without running containers. Ours stays as long as the
settings say the same, and is made anew, its containers' addresses with it, when they say something
else and none of its containers runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from drivers import bridge_options as option
from drivers.bridge_link import ORIGIN
from netmodel.engine.core import Core
from netmodel.engine.endpoints import Endpoints
from netmodel.engine.networks import BRIDGE, Networks
from netmodel.engine.settings import NO_NETWORK, BridgeSettings
from netmodel.engine.undo import Undo
from netmodel.errors import Invalid
from netmodel.model import (
    WAY_OUT,
    Endpoint,
    IPAddress,
    IPInterface,
    IPNetwork,
    Network,
    NetworkConfig,
    PoolConfig,
)


class DefaultNetwork:
    """Args:
    warnings: Gets a sentence when the settings cannot have effect now.
    """

    def __init__(
        self, core: Core, networks: Networks, endpoints: Endpoints, settings: BridgeSettings, warnings: list[str]
    ) -> None:
        self._core = core
        self._networks = networks
        self._endpoints = endpoints
        self._settings = settings
        self._warnings = warnings

    def ensure(self) -> None:
        """Have it as the settings want it, unless containers run on it.

        Raises:
            Invalid: The settings do not fit the host, or what containers were promised.
        """
        network = self._core.records.networks.named(BRIDGE)
        if self._settings.bridge == NO_NETWORK:
            if network is not None:
                self._remove(network)
            return
        wanted = default_network(self._settings, self._addresses_of_bridge())
        if network is None:
            self._networks.create_default(wanted)
        elif network.config != wanted:
            self._change(network, wanted)

    def _addresses_of_bridge(self) -> list[IPInterface]:
        """Of the bridge that the settings name: those that somebody gave it, not we."""
        name = self._settings.bridge
        if name is None:
            return []
        link = self._core.host.link(name)
        if link is None or link.kind != "bridge":
            what = "there is no such link on this host" if link is None else f"that link is no bridge but a {link.kind}"
            raise Invalid(
                f"setting bridge={name}: {what}",
                f"make it first (ip link add {name} type bridge), or leave the setting out to have one made",
            )
        return [one.interface for one in self._core.host.addresses() if one.link == link.index and one.origin != ORIGIN]

    def _remove(self, network: Network) -> None:
        present = self._core.records.endpoints_on(network.id)
        if present:
            self._warnings.append(
                f"setting bridge=none has no effect yet: {self._names(present)} on network {BRIDGE}; "
                f"remove them and start the engine again"
            )
            return
        self._networks.destroy(network)

    def _change(self, network: Network, wanted: NetworkConfig) -> None:
        present = self._core.records.endpoints_on(network.id)
        running = [one for one in present if self._runs(one)]
        if running:
            self._warnings.append(
                f"network {BRIDGE} stays as it was, not as its settings are now: {self._names(running)} on it; "
                f"stop them and start the engine again"
            )
            return
        with Undo() as undo:
            self._networks.release(network)
            undo.callback(self._take_back, network, present)
            fresh = self._networks.renew(Network(id=network.id, config=wanted, created_at=network.created_at))
            undo.callback(self._networks.release, fresh)
            # Who chose an address goes first: an automatic one must not take it.
            chosen = sorted(present, key=lambda one: not (one.config.ipv4_address or one.config.ipv6_address))
            renewed = [self._endpoints.renew(one, fresh, undo) for one in chosen]
            driver = self._core.driver(network.config.driver)
            driver.delete_network(self._networks.as_driver(network))
            self._networks.forget(network)
            # From here it is the new one that the next engine makes, should we die.
            self._core.records.put(fresh, *renewed)
            undo.callback(self._core.records.put, network, *present)
            undo.callback(driver.delete_network, self._networks.as_driver(fresh))
            driver.create_network(self._networks.as_driver(fresh))
            undo.pop_all()

    def _take_back(self, network: Network, present: Sequence[Endpoint]) -> None:
        self._networks.forget(network)
        self._networks.adopt(network)
        for endpoint in present:
            self._endpoints.adopt(endpoint)
        self._core.driver(network.config.driver).create_network(self._networks.as_driver(network))

    def _runs(self, endpoint: Endpoint) -> bool:
        """Its link is in a sandbox; not so after the machine has started, whatever is to run soon."""
        used = any(one.state.running for one in self._core.records.sharers(endpoint.container_id))
        return used and self._core.spawner.sandbox(endpoint.container_id) is not None

    def _names(self, endpoints: Iterable[Endpoint]) -> str:
        found = [self._core.records.containers.get(one.container_id) for one in endpoints]
        names = sorted(one.name for one in found if one is not None)
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return f"container {listed} is" if len(names) == 1 else f"containers {listed} are"


def default_network(settings: BridgeSettings, on_bridge: Sequence[IPInterface]) -> NetworkConfig:
    """What the settings want.

    Args:
        on_bridge: The addresses of a bridge that they name.

    Raises:
        Invalid: They contradict each other.
    """
    flags = {option.ICC: settings.icc, option.MASQUERADE: settings.ip_masq}
    texts = {option.NAME: settings.bridge, option.HOST_BINDING: settings.ip, option.MTU: settings.mtu}
    options = {key: "true" if value else "false" for key, value in flags.items() if value is not None}
    options |= {key: str(value) for key, value in texts.items() if value is not None}
    v4 = _pool("", settings.bip, settings.fixed_cidr, settings.default_gateway, on_bridge)
    pools = [] if v4 is None else [v4]
    if settings.ipv6:
        v6 = _pool("-v6", settings.bip6, settings.fixed_cidr_v6, settings.default_gateway_v6, on_bridge)
        pools += [] if v6 is None else [v6]
    return NetworkConfig(name=BRIDGE, options=options, enable_ipv6=bool(settings.ipv6), pools=tuple(pools))


def _pool(
    suffix: str,
    bip: IPInterface | None,
    fixed: IPNetwork | None,
    way_out: IPAddress | None,
    on_bridge: Sequence[IPInterface],
) -> PoolConfig | None:
    """What is wanted of one family; None leaves all of it open."""
    version = 6 if suffix else 4
    own = bip or _chosen([one for one in on_bridge if one.version == version and not one.is_link_local], fixed)
    subnet = own.network if own is not None else fixed
    if subnet is None:
        if way_out is not None:
            raise Invalid(
                f"setting default-gateway{suffix}={way_out}: the network's subnet is not said",
                f'set "{"bip6" if suffix else "bip"}" or "fixed-cidr{suffix}", too',
            )
        return None
    if fixed is not None and not (fixed.network_address in subnet and fixed.prefixlen >= subnet.prefixlen):
        raise Invalid(
            f"setting fixed-cidr{suffix}={fixed} is not inside {subnet}, the subnet of the bridge's address {own}",
            "make it a part of that",
        )
    if way_out is not None and way_out not in subnet:
        raise Invalid(
            f"setting default-gateway{suffix}={way_out} is not inside the network's subnet {subnet}",
            "name a machine of that network",
        )
    return PoolConfig(
        subnet=subnet,
        ip_range=fixed,
        gateway=None if own is None else own.ip,
        auxiliary={} if way_out is None else {WAY_OUT[version]: way_out},
    )


def _chosen(addresses: Sequence[IPInterface], fixed: IPNetwork | None) -> IPInterface | None:
    """Of a bridge's addresses the one whose subnet has the range that is wanted, else one in that range, else any.

    Source: moby daemon/daemon_unix.go, selectBIP().
    """
    if fixed is not None:
        around = [one for one in addresses if fixed.network_address in one.network]
        addresses = around or [one for one in addresses if one.ip in fixed] or addresses
    return addresses[0] if addresses else None
