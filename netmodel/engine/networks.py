"""Networks: their pools, their segment on the host, their records."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import drivers.api as driver_api
from drivers.bridge_options import NAME as BRIDGE_NAME
from drivers.bridge_options import VLAN
from ipam.api import Pool, PoolRequest, Taken, Usage
from netmodel.engine.core import Core
from netmodel.engine.hostroutes import HostRoutes
from netmodel.engine.names import check_name, new_id
from netmodel.engine.settings_networks import check_unused, filled_in, settings_alone
from netmodel.engine.undo import Undo
from netmodel.errors import Conflict, Forbidden, Invalid
from netmodel.model import Container, Network, NetworkConfig, NetworkPool, PoolConfig

BRIDGE, HOST, NONE = "bridge", "host", "none"
PREDEFINED = (BRIDGE, HOST, NONE)
DEFAULT = "default"  # Docker's word for whichever network is the default one; one of that name would not be found
# Their drivers have one instance each, made by the engine.
_SINGLE = {"host": HOST, "null": NONE}


class Networks:
    """Creates and removes networks, and knows each one as its driver wants it."""

    def __init__(self, core: Core, routes: HostRoutes) -> None:
        self._core = core
        self._routes = routes
        self._lock = threading.Lock()
        self._pools: dict[str, tuple[Pool, ...]] = {}  # by network id
        self._as_driver: dict[str, driver_api.Network[Any]] = {}

    # --- create -------------------------------------------------------------------------------

    def create(self, config: NetworkConfig) -> Network:
        """Make a network, or nothing at all."""
        check_name("network", config.name)
        if config.name in (*PREDEFINED, DEFAULT):
            raise Forbidden(f"operation is not permitted on predefined {config.name} network", "choose another name")
        if config.config_only:
            return self._create(settings_alone(config))
        if config.driver in _SINGLE:
            raise Forbidden(
                f"there is one network of driver {config.driver!r}: {_SINGLE[config.driver]!r}", "use that one"
            )
        if config.config_from:
            source = self._core.records.networks.find(config.config_from)
            with self._core.locks.sharing([source.id]):  # it stays while we take its settings
                return self._create(filled_in(self._core, config))
        defaults = self._core.settings.default_network_options.get(config.driver, {})
        return self._create(replace(config, options={**defaults, **config.options}))

    def ensure_predefined(self) -> None:
        """Make host and none where they are missing."""
        for driver, name in _SINGLE.items():
            if self._core.records.networks.named(name) is None:
                self._create(NetworkConfig(name=name, driver=driver))

    def create_default(self, config: NetworkConfig) -> Network:
        """Make the default network, which users cannot."""
        return self._create(config)

    def _create(self, config: NetworkConfig) -> Network:
        core = self._core
        driver = core.driver(config.driver)
        options = core.options(config)  # a wrong option costs nothing yet
        if config.leased and not config.config_only:
            core.segment(config, options)
        traits = core.traits(config)
        network = Network(id=new_id(), config=config, created_at=datetime.now(UTC), state="creating")
        with core.locks.alone(network.id), Undo() as undo:
            undo.callback(core.locks.forget, network.id)
            core.records.networks.check_free(network)
            if driver.wants_pools:
                network = replace(network, pools=self._request_pools(network, traits))
                undo.callback(self.release, network)
            core.records.put(network)  # the intent: names the pools, so that a crash from here is undone
            undo.callback(core.records.delete, network)
            self._check_claim(network, traits.claim)
            undo.callback(driver.delete_network, self.as_driver(network))
            driver.create_network(self.as_driver(network))
            network = replace(network, state="ready")
            core.records.put(network)
            undo.pop_all()
        self.event("create", network)
        return network

    def _check_claim(self, network: Network, claim: str) -> None:
        """Two networks on one link of the host would be one segment, whatever their names say."""
        for other in self._core.records.networks:
            if claim and other.id != network.id and self._core.traits(other.config).claim == claim:
                instead = f"a VLAN of the link ({claim.partition('.')[0]}.NUMBER)"
                if network.config.driver == "bridge":
                    instead = f"another bridge ({BRIDGE_NAME}) or another VLAN of this one ({VLAN})"
                raise Conflict(
                    f"network {other.name} is on the host's link {claim} already",
                    f"attach to that one, or give this one {instead}",
                )

    def _request_pools(self, network: Network, traits: driver_api.Traits) -> tuple[NetworkPool, ...]:
        config = network.config
        wishes = list(_wishes(config))
        ipam = self._core.ipam_driver(config.ipam_driver)
        taken = self._taken(wishes, network, traits.on_host)
        held: list[Pool] = []
        try:
            for family, wish in wishes:
                held.append(
                    ipam.request_pool(
                        PoolRequest(
                            family=family,
                            subnet=wish.subnet,
                            size=wish.size,
                            ip_range=wish.ip_range,
                            gateway=wish.gateway,
                            auxiliary=wish.auxiliary,
                            options=config.ipam_options,
                            want_gateway=traits.gateway,
                        ),
                        taken,
                    )
                )
        except BaseException:
            for pool in held:
                ipam.release_pool(pool.id)
            raise
        if not ipam.has_addresses:
            return ()
        with self._lock:
            self._pools[network.id] = tuple(held)
        return tuple(
            NetworkPool(
                subnet=pool.subnet, gateway=pool.gateway, ip_range=pool.ip_range, auxiliary=dict(pool.auxiliary)
            )
            for pool in held
        )

    def _taken(self, wishes: Sequence[tuple[int, PoolConfig]], network: Network, on_host: bool) -> Sequence[Taken]:
        """What a pool may not overlap: the host's routes, and for a message that names it, another network of ours."""
        ipam_driver = network.config.ipam_driver
        chosen = [wish.subnet for _, wish in wishes if wish.subnet is not None]
        beside = () if on_host else tuple(subnet.version for subnet in chosen)
        # The routes of the bridge that it is, or has been, are its own.
        options = network.config.options
        named = options.get(BRIDGE_NAME, "")
        own = (named, f"{named}.{options.get(VLAN)}", f"br-{network.id[:12]}")
        taken = [route for route in self._routes.taken(own) if route.prefix.version not in beside]
        # Who would answer the containers' questions then? One who chooses such a subnet may know better.
        automatic = {family for family, wish in wishes if wish.subnet is None}
        servers = _name_servers(self._core.settings.resolver.asked())
        taken += [server for server in servers if server.prefix.version in automatic]
        # Automatic pools of one IPAM driver avoid each other inside it.
        ours = [
            Taken(prefix=pool.subnet, by=f"network {other.name}")
            for other in self._core.records.networks
            if other.id != network.id and (chosen or other.config.ipam_driver != ipam_driver)
            for pool in other.pools
            if other.config.ipam_driver != ipam_driver
            or any(pool.subnet.version == subnet.version and pool.subnet.overlaps(subnet) for subnet in chosen)
        ]
        return ours + taken

    def renew(self, network: Network) -> Network:
        """The same network, with pools for what its config asks for now; it holds none when this is called."""
        return replace(network, pools=self._request_pools(network, self._core.traits(network.config)))

    def adopt(self, network: Network) -> None:
        """Hold again, after a restart, exactly the pools that the record names."""
        if not network.pools:
            return
        ipam = self._core.ipam_driver(network.config.ipam_driver)
        held = tuple(
            ipam.request_pool(
                PoolRequest(
                    family=pool.subnet.version,
                    subnet=pool.subnet,
                    ip_range=pool.ip_range,
                    gateway=pool.gateway,
                    auxiliary=pool.auxiliary,
                    want_gateway=pool.gateway is not None,
                )
            )
            for pool in network.pools
        )
        with self._lock:
            self._pools[network.id] = held

    # --- remove -------------------------------------------------------------------------------

    def remove(self, ref: str) -> None:
        """Remove a network nobody is on.

        Raises:
            Conflict: Somebody is; names them.
        """
        core = self._core
        network = core.records.networks.find(ref)
        if network.name in PREDEFINED:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        self._check_nobody_on(network)  # a first time: while we waited to be alone, nobody else could come onto it
        with core.locks.alone(network.id):
            network = core.records.networks.find(network.id)
            check_unused(core, network)
            self._check_nobody_on(network)
            self.destroy(network)
        self.event("destroy", network)

    def _check_nobody_on(self, network: Network) -> None:
        users = self._core.records.endpoints_on(network.id)
        if users:
            names = sorted(self._container_name(endpoint.container_id) for endpoint in users)
            listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            there = (self._core.records.containers.get(endpoint.container_id) for endpoint in users)
            what = "has active endpoints"
            if not any(one is not None and one.state.running for one in there):
                what = "keeps addresses for containers that do not run"
            raise Conflict(f"network {network.name} {what}: {listed}", "disconnect or remove these containers first")

    def destroy(self, network: Network) -> None:
        """Take a network away, every step of it; what failed is told together."""
        core = self._core
        core.records.put(replace(network, state="deleting"))
        core.driver(network.config.driver).delete_network(self.as_driver(network))
        self.release(network)
        core.records.delete(network)
        core.locks.forget(network.id)

    def release(self, network: Network) -> None:
        """Give the pools back."""
        with self._lock:
            pools = self._pools.pop(network.id, ())
            self._as_driver.pop(network.id, None)
        for pool in pools:
            self._core.ipam_driver(network.config.ipam_driver).release_pool(pool.id)

    def forget(self, network: Network) -> None:
        """Look at its config anew: it is another one now."""
        with self._lock:
            self._as_driver.pop(network.id, None)

    def _container_name(self, container_id: str) -> str:
        container: Container | None = self._core.records.containers.get(container_id)
        return container.name if container is not None else container_id[:12]

    # --- questions ----------------------------------------------------------------------------

    def pools(self, network: Network) -> tuple[Pool, ...]:
        """The pools it holds, as the IPAM driver knows them."""
        return self._pools.get(network.id, ())

    def usage(self, network: Network) -> list[tuple[NetworkPool, Usage]]:
        """How full each of its pools is."""
        ipam = self._core.ipam_driver(network.config.ipam_driver)
        return [
            (recorded, ipam.usage(held.id)) for recorded, held in zip(network.pools, self.pools(network), strict=False)
        ]

    def as_driver(self, network: Network) -> driver_api.Network[Any]:
        """The network as its driver sees it."""
        found = self._as_driver.get(network.id)
        if found is None:
            found = driver_api.Network(
                id=network.id,
                name=network.name,
                options=self._core.options(network.config),
                pools=tuple(
                    driver_api.Pool(subnet=pool.subnet, gateway=pool.gateway, way_out=pool.way_out)
                    for pool in network.pools
                ),
                internal=network.config.internal,
            )
            self._as_driver[network.id] = found
        return found

    def advice(self, network: Network) -> list[str]:
        """What about it works, but not as one would wish."""
        driver = self._core.driver(network.config.driver)
        return list(driver.advice(self.as_driver(network))) if isinstance(driver, driver_api.Advises) else []

    def event(self, action: str, network: Network, container: Container | None = None) -> None:
        """Tell who listens; of a container that comes or goes, which."""
        attributes = {"name": network.name, "type": network.config.driver}
        if container is not None:
            attributes["container"] = container.id
        self._core.events.publish("network", action, network.id, attributes)


def _name_servers(servers: Iterable[str]) -> Iterable[Taken]:
    """They may be far behind the host's default route."""
    for text in servers:
        with suppress(ValueError):  # a name, or an address with a scope
            yield Taken(prefix=ip_network(text), by="a name server of the host")


def _wishes(config: NetworkConfig) -> Iterable[tuple[Any, PoolConfig]]:
    """One wish for each family the network has: what was asked for, or an automatic subnet."""
    enabled = [family for family, on in ((4, config.enable_ipv4), (6, config.enable_ipv6)) if on]
    if not enabled:
        raise Invalid(f"network {config.name} has neither IPv4 nor IPv6", "enable one of them")
    by_family: dict[int, PoolConfig] = {}
    for pool in config.pools:
        family = _family(pool)
        if family in by_family:
            raise Invalid(f"network {config.name} asks for two IPv{family} subnets", "give it one of each family")
        if family not in enabled:
            wanted = pool.subnet or "a subnet"
            raise Invalid(
                f"network {config.name} asks for {wanted}, but IPv{family} is off",
                f"enable IPv{family} on the network",
            )
        by_family[family] = pool
    for family in enabled:
        yield family, by_family.get(family, PoolConfig())


def _family(pool: PoolConfig) -> int:
    for value in (pool.subnet, pool.ip_range, pool.gateway):
        if value is not None:
            return value.version
    return pool.family
