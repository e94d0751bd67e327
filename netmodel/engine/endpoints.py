"""Endpoints: a container's attachments, from the addresses they hold to the link in the sandbox."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from pathlib import Path

import drivers.api as driver_api
from drivers.errors import NetworkFull
from ipam.api import Pool
from ipam.errors import AddressTaken
from netmodel.engine.core import Core
from netmodel.engine.leases import Leases, with_lease
from netmodel.engine.link_options import IFNAME, check_endpoint, turns_ipv6_off
from netmodel.engine.names import new_id
from netmodel.engine.networks import Networks
from netmodel.engine.undo import Undo, every_step
from netmodel.errors import Conflict, Invalid
from netmodel.model import Container, Endpoint, EndpointConfig, IPAddress, IPInterface, Network
from netmodel.project import NUMBER_LABEL, PROJECT_LABEL, SERVICE_LABEL

PREFIX_OPTION = "com.docker.network.container_iface_prefix"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_INTERFACE = re.compile(r"[^\s/:]{1,15}")  # Linux net/core/dev.c, dev_valid_name()


class Endpoints:
    """Reserves, joins, leaves and gives back. Whoever calls holds the container's lock and shares the network's."""

    def __init__(self, core: Core, networks: Networks, leases: Leases) -> None:
        self._core = core
        self._leases = leases
        self._networks = networks

    # --- what is held without a sandbox ---------------------------------------------------------

    def reserve(self, container: Container, config: EndpointConfig, network: Network, interface: str) -> Endpoint:
        """Get an attachment its addresses; the caller puts the record into the store.

        An address that was chosen, and that a container still has which this one replaces, is left out: see claim().

        Raises:
            IpamError: An address is taken or outside; the pool is full.
            NetworkFull: There are as many endpoints as it can have.
        """
        driver = self._core.driver(network.config.driver)
        own = driver.endpoint_options if isinstance(driver, driver_api.Specializes) else ()
        check_endpoint(config.driver_opts, own)
        mac = _checked_mac(config.mac_address)
        _check_link_local(config.link_local_ips)
        self._check_room(network)
        own_mac = self._core.traits(network.config).own_macs
        if mac and not own_mac:
            raise Invalid(
                f"network {network.name} gives its endpoints the MAC address of its parent link, not {mac}",
                "leave the MAC address out",
            )
        with Undo() as undo:
            addresses = self._request_addresses(
                config, network, undo, self._pools(network, container, config), container
            )
            endpoint = Endpoint(
                id=new_id(),
                network_id=network.id,
                container_id=container.id,
                config=config,
                mac=mac or (_mac_for(addresses) if own_mac else ""),
                interface=interface,
                addresses=addresses,
            )
            driver.create_endpoint(self._networks.as_driver(network), as_driver(endpoint))
            undo.pop_all()
        return endpoint

    def _check_room(self, network: Network) -> None:
        """Refuse now what could never start beside the others."""
        driver = self._core.driver(network.config.driver)
        if isinstance(driver, driver_api.Bounded) and self._core.records.count_on(network.id) >= driver.max_endpoints:
            raise NetworkFull(network.name, driver.max_endpoints)

    def _pools(self, network: Network, container: Container, config: EndpointConfig) -> list[Pool]:
        """Those that it gets addresses of: the kernel takes none of IPv6 where that is turned off.

        Raises:
            Invalid: It asks for what it turns off.
        """
        pools = list(self._networks.pools(network))
        if not turns_ipv6_off(container.config.sysctls, config.driver_opts):
            return pools
        left = [pool for pool in pools if pool.subnet.version == 4]
        if config.ipv6_address is not None or (pools and not left):
            what = config.ipv6_address or f"an address of network {network.name}, which has IPv6 alone,"
            raise Invalid(f"{what} cannot be had: a sysctl of the container turns IPv6 off", "leave out one of them")
        return left

    def is_whole(self, endpoint: Endpoint) -> bool:
        """False while it lacks an address that it is to have, and that who it replaces still has."""
        return not _missing(endpoint)

    def claim(self, endpoint: Endpoint, undo: ExitStack, former: Iterable[Endpoint] = ()) -> Endpoint:
        """Get an attachment that starts what it lacks: who had its address before should be gone by now.

        Args:
            former: From these it may be taken unless they run: the caller holds the locks of their containers, too.

        Raises:
            Conflict: Somebody else has it.
        """
        if self.is_whole(endpoint):
            return endpoint
        network = self._network(endpoint)
        missing = [pool for pool in self._networks.pools(network) if pool.subnet.version in _missing(endpoint)]
        for one in former:
            self._take_from(one, endpoint.config, missing, undo)
        addresses = self._request_addresses(endpoint.config, network, undo, missing)
        mac = endpoint.mac if endpoint.config.mac_address else _mac_for(addresses)
        return replace(endpoint, addresses=tuple(sorted((*addresses, *endpoint.addresses), key=_family)), mac=mac)

    def predecessors(self, endpoint: Endpoint) -> list[Endpoint]:
        """The endpoints there of those that its container replaces."""
        records = self._core.records
        heir = records.containers.get(endpoint.container_id)
        found = []
        for other in records.endpoints_on(endpoint.network_id):
            container = records.containers.get(other.container_id)
            if heir and container and _replaces(heir, container):
                found.append(other)
        return found

    def _take_from(self, former: Endpoint, wish: EndpointConfig, missing: Iterable[Pool], undo: ExitStack) -> None:
        """Release what it has of what its heir is to have, unless it runs."""
        container = self._core.records.containers.get(former.container_id)
        if container is None or container.state.running:
            return
        ipam = self._core.ipam_driver(self._network(former).config.ipam_driver)
        for pool in missing:
            given = [one for one in former.addresses if one.ip in (wish.ipv4_address, wish.ipv6_address)]
            address = next((one for one in given if one.version == pool.subnet.version), None)
            if address is not None:
                undo.callback(self._core.records.put, former)
                undo.callback(ipam.request_address, pool.id, address.ip)
                ipam.release_address(pool.id, address.ip)
                former = replace(former, addresses=tuple(one for one in former.addresses if one != address))
                self._core.records.put(former)

    def _request_addresses(
        self,
        config: EndpointConfig,
        network: Network,
        undo: ExitStack,
        pools: Sequence[Pool] | None = None,
        heir: Container | None = None,
    ) -> tuple[IPInterface, ...]:
        """One of each pool.

        Args:
            pools: All of the network's without.
            heir: Does without what it is to have, as long as who it replaces has it.
        """
        ipam = self._core.ipam_driver(network.config.ipam_driver)
        wanted: dict[int, IPAddress | None] = {4: config.ipv4_address, 6: config.ipv6_address}
        addresses: list[IPInterface] = []
        for pool in self._networks.pools(network):
            asked = wanted.pop(pool.subnet.version)
            if pools is not None and pool not in pools:
                continue
            try:
                address = ipam.request_address(pool.id, asked)
            except AddressTaken as error:
                owner = self._owner(error, network)
                if heir is not None and owner is not None and _replaces(heir, owner):
                    continue
                raise self._named(error, network, owner) from error
            undo.callback(ipam.release_address, pool.id, address.ip)
            addresses.append(address)
        for family, address_left in wanted.items():
            if address_left is not None and network.config.leased:
                raise Invalid(
                    f"the addresses of network {network.name} are a DHCP server's to give, and so is {address_left}",
                    "have it keep that address for a MAC address, and ask for that MAC address here",
                )
            if address_left is not None:
                raise Invalid(
                    f"network {network.name} has no IPv{family} subnet for {address_left}",
                    f"give the network an IPv{family} subnet, or leave the address out",
                )
        return tuple(addresses)

    def _owner(self, error: AddressTaken, network: Network) -> Container | None:
        """Which container has the address: IPAM knows addresses only."""
        for endpoint in self._core.records.endpoints_on(network.id):
            if error.address in (address.ip for address in endpoint.addresses):
                return self._core.records.containers.get(endpoint.container_id)
        return None

    def _named(self, error: AddressTaken, network: Network, owner: Container | None) -> AddressTaken | Conflict:
        if owner is None:
            return error
        what = f"address {error.address} of network {network.name} is taken by container {owner.name}"
        return Conflict(what, error.hint)

    def renew(self, endpoint: Endpoint, network: Network, undo: ExitStack) -> Endpoint:
        """The attachment on a network whose subnets are other ones now: with its old addresses where they fit.

        The caller has released the old ones, and puts the record into the store.
        """
        config = _kept(endpoint, self._networks.pools(network))
        container = self._core.records.containers.get(endpoint.container_id)
        pools = None if container is None else self._pools(network, container, config)
        addresses = self._request_addresses(config, network, undo, pools)
        mac = endpoint.config.mac_address or _mac_for(addresses)
        return replace(endpoint, addresses=addresses, mac=_checked_mac(mac) or "")

    def adopt(self, endpoint: Endpoint) -> None:
        """Hold again, after a restart, exactly the addresses that the record names."""
        network = self._network(endpoint)
        ipam = self._core.ipam_driver(network.config.ipam_driver)
        by_family = {address.version: address.ip for address in endpoint.addresses}
        for pool in self._networks.pools(network):
            if pool.subnet.version in by_family:
                ipam.request_address(pool.id, by_family[pool.subnet.version])

    def give_back(self, endpoint: Endpoint) -> None:
        """Release the addresses; the caller removes the record."""
        network = self._network(endpoint)
        driver = self._core.driver(network.config.driver)
        ipam = self._core.ipam_driver(network.config.ipam_driver)
        by_family = {address.version: address.ip for address in endpoint.addresses}
        with every_step(f"cannot give back endpoint {endpoint.id[:12]}") as step:
            with step:
                driver.delete_endpoint(self._networks.as_driver(network), as_driver(endpoint))
            if endpoint.lease is not None:
                with step:
                    self._leases.release(endpoint, network)
            for pool in self._networks.pools(network):
                if pool.subnet.version in by_family:
                    with step:
                        ipam.release_address(pool.id, by_family[pool.subnet.version])

    # --- in a sandbox ---------------------------------------------------------------------------

    def join(self, endpoint: Endpoint, netns: Path) -> driver_api.Attachment | None:
        """Put the link into the namespace."""
        network = self._network(endpoint)
        driver = self._core.driver(network.config.driver)
        return driver.join(self._networks.as_driver(network), as_driver(endpoint), netns)

    def adopt_link(self, endpoint: Endpoint, netns: Path) -> driver_api.Attachment:
        """Know again what an earlier engine put into a namespace."""
        network = self._network(endpoint)
        driver = self._core.driver(network.config.driver)
        if isinstance(driver, driver_api.Inside):
            attachment = driver.adopt(self._networks.as_driver(network), as_driver(endpoint), netns)
            attachment = replace(attachment, link=endpoint.interface)
        else:
            gateways = tuple(pool.way_out for pool in network.pools if pool.way_out is not None)
            attachment = driver_api.Attachment(link=endpoint.interface, gateways=gateways)
        return with_lease(attachment, endpoint.lease, network.config.internal)

    def leave(self, endpoint: Endpoint, netns: Path | None) -> None:
        """Take the link out of service.

        Args:
            netns: The namespace it is in; None, or gone, when it ended.
        """
        network = self._network(endpoint)
        driver = self._core.driver(network.config.driver)
        with every_step(f"cannot take {endpoint.interface} off network {network.name}") as step:
            if isinstance(driver, driver_api.Inside) and netns is not None and netns.exists():
                with step:
                    driver.withdraw(self._networks.as_driver(network), as_driver(endpoint), netns)
            with step:
                driver.leave(self._networks.as_driver(network), as_driver(endpoint))

    def resolvable(self, container: Container, endpoint: Endpoint) -> None:
        """Let the network's other members find the container by its names."""
        self._core.zone.attach(
            endpoint.network_id,
            endpoint.id,
            dns_names(container, endpoint),
            [address.ip for address in endpoint.addresses],
            self._network(endpoint).name,
            (*container.config.ports, *container.config.exposed_ports),
        )

    def unresolvable(self, endpoint: Endpoint) -> None:
        self._core.zone.detach(endpoint.id)

    def _network(self, endpoint: Endpoint) -> Network:
        network = self._core.records.networks.get(endpoint.network_id)
        assert network is not None, "a network with endpoints is never removed"
        return network


def _kept(endpoint: Endpoint, pools: Iterable[Pool]) -> EndpointConfig:
    """What it asked for, and where it asked for nothing, the address it had, if that is one to be given out."""
    config = endpoint.config
    for pool in pools:
        old = next((one.ip for one in endpoint.addresses if one.version == pool.subnet.version), None)
        if old is None or old not in (pool.ip_range or pool.subnet) or old in (pool.gateway, *pool.auxiliary.values()):
            continue
        if isinstance(old, IPv4Address) and config.ipv4_address is None:
            config = replace(config, ipv4_address=old)
        elif isinstance(old, IPv6Address) and config.ipv6_address is None:
            config = replace(config, ipv6_address=old)
    return config


def _missing(endpoint: Endpoint) -> set[int]:
    """In which families it lacks the address that was chosen for it."""
    config = endpoint.config
    chosen: set[int] = {one.version for one in (config.ipv4_address, config.ipv6_address) if one is not None}
    return chosen - {address.version for address in endpoint.addresses}


def _replaces(heir: Container, other: Container) -> bool:
    """Whether it will stand for another one of the same Compose project, which makes it before the other goes."""
    mine = [heir.config.labels.get(label) for label in (PROJECT_LABEL, SERVICE_LABEL, NUMBER_LABEL)]
    theirs = [other.config.labels.get(label) for label in (PROJECT_LABEL, SERVICE_LABEL, NUMBER_LABEL)]
    return all(mine) and mine == theirs and heir.id != other.id


def _family(address: IPInterface) -> int:
    return address.version


def as_driver(endpoint: Endpoint) -> driver_api.Endpoint:
    """The endpoint as its driver sees it."""
    return driver_api.Endpoint(
        id=endpoint.id, mac=endpoint.mac, addresses=endpoint.addresses, options=endpoint.config.driver_opts
    )


def dns_names(container: Container, endpoint: Endpoint) -> list[str]:
    """A container's name, its aliases on this network, its short id and its hostname, as Docker has it."""
    names = [container.name, *endpoint.config.aliases, container.id[:12]]
    if container.config.hostname:
        names.append(container.config.hostname)
    return list(dict.fromkeys(names))


def interface_names(
    configs: Sequence[EndpointConfig], networks: Sequence[Network], taken: Iterable[str] = ()
) -> list[str]:
    """Name the links of a container: as asked for, the others eth0, eth1, ... in the order declared.

    Raises:
        Invalid: A name cannot be a link's, or two are the same.
    """
    used = {"lo", *taken}
    asked = [config.interface_name or config.driver_opts.get(IFNAME) for config in configs]
    for name in asked:
        if name is None:
            continue
        if not _INTERFACE.fullmatch(name) or name in (".", ".."):
            raise Invalid(f"interface name {name!r} is not allowed", "1 to 15 characters, no space, '/' or ':'")
        if name in used:
            raise Invalid(f"interface name {name!r} is used twice", "give each network's interface its own name")
        used.add(name)
    names: list[str] = []
    for name, network in zip(asked, networks, strict=True):
        if name is None:
            prefix = network.config.options.get(PREFIX_OPTION, "eth")
            name = next(free for number in range(len(used) + 1) if (free := f"{prefix}{number}") not in used)
            used.add(name)
        names.append(name)
    return names


def _check_link_local(addresses: Iterable[IPAddress]) -> None:
    for address in addresses:
        if not address.is_link_local:
            raise Invalid(f"{address} is no link-local address", "choose one of 169.254.0.0/16 or fe80::/10")


def _checked_mac(mac: str | None) -> str | None:
    if not mac:
        return None
    text = mac.lower().replace("-", ":")
    if not _MAC.fullmatch(text):
        raise Invalid(f"{mac!r} is not a MAC address", "write it as 02:42:ac:11:00:02")
    if int(text[:2], 16) & 1:
        raise Invalid(f"{mac} is a multicast MAC address", "its first byte must be even")
    return text


def _mac_for(addresses: Sequence[IPInterface]) -> str:
    """A locally administered address, made from the IPv4 address where there is one.

    So a container that is made anew with its old address has its old MAC, too, and nobody's
    neighbour cache is wrong.
    """
    for address in addresses:
        if isinstance(address, IPv4Interface):
            return _mac_of(address)
    return "02:42:" + secrets.token_bytes(4).hex(":")


def _mac_of(address: IPv4Interface) -> str:
    return "02:42:" + address.ip.packed.hex(":")


def needs_announcement(endpoint: Endpoint) -> bool:
    """Whether a neighbour could know one of its addresses at another MAC."""
    return any(
        not isinstance(address, IPv4Interface) or _mac_of(address) != endpoint.mac for address in endpoint.addresses
    )
