"""The networks and volumes of a topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from netmodel.model import IPAddress, NetworkConfig, PoolConfig, VolumeConfig
from netmodel.topology import names, units
from netmodel.topology.config_hash import with_hash
from netmodel.topology.keys import EXTERNAL, IPAM, NETWORK, POOL, VOLUME, Keys
from netmodel.topology.value import Fields, Value

DEFAULT = "default"
P2P = "p2p"  # the driver of x-link: p2p
PUBLISH_TO_HOST = "netmodel.bridge.publish_to_host"


@dataclass(frozen=True, slots=True)
class Network:
    """A network as declared.

    Args:
        value: Where; None for the default network that no file mentions.
        pools: Each with its place, for cross checks.
    """

    key: str
    config: NetworkConfig
    external: bool = False
    value: Value | None = None
    pools: tuple[tuple[PoolConfig, Value], ...] = ()

    @property
    def may_publish(self) -> bool:
        """False where it surely publishes no ports."""
        if self.external or self.config.driver != "bridge":
            return self.external
        return not self.config.internal or PUBLISH_TO_HOST in self.config.options


@dataclass(frozen=True, slots=True)
class Volume:
    key: str
    config: VolumeConfig
    external: bool
    value: Value


@dataclass(slots=True)
class _Identity:
    name: str
    external: bool
    labels: dict[str, str] = field(default_factory=dict)


def default(project: str) -> Network:
    labels = names.network_labels(project, DEFAULT)
    config = NetworkConfig(name=f"{project}_{DEFAULT}", labels=labels)
    return Network(DEFAULT, with_hash(config))


def read_network(key: str, value: Value, project: str) -> Network:
    fields = _section(key, value, NETWORK)
    identity = _identity(key, fields, project)
    if identity.external:
        _refuse_beside_external(fields)
        return Network(key, NetworkConfig(name=identity.name), external=True, value=value)
    pools = _pools(fields)
    ipam = fields["ipam"].fields(IPAM) if "ipam" in fields else Fields(value)
    config = NetworkConfig(
        name=identity.name,
        driver=_driver(fields),
        options=fields.words("driver_opts"),
        labels={**identity.labels, **names.network_labels(project, key)},
        internal=fields.flag("internal"),
        attachable=fields.flag("attachable"),
        enable_ipv4=_enabled(fields, 4, [pool for pool, _ in pools]),
        enable_ipv6=_enabled(fields, 6, [pool for pool, _ in pools]),
        ipam_driver=ipam.text("driver", "default") or "default",
        ipam_options=ipam.words("options"),
        pools=tuple(pool for pool, _ in pools),
    )
    return Network(key, config, value=value, pools=tuple(pools))


def _driver(fields: Fields) -> str:
    """What x-link says goes before the driver's default."""
    driver = fields.text("driver")
    if "x-link" not in fields:
        return driver or "bridge"
    link = fields["x-link"]
    if link.text() not in (P2P, None):
        link.error(f'there is no link "{link.text()}"', "use p2p: a bare link between exactly two containers")
    elif driver not in (P2P, ""):
        fields["driver"].error_at_key(f"{driver} cannot stand beside x-link", "keep one of the two")
    return P2P


def read_volume(key: str, value: Value, project: str) -> Volume:
    fields = _section(key, value, VOLUME)
    identity = _identity(key, fields, project)
    if identity.external:
        _refuse_beside_external(fields)
        return Volume(key, VolumeConfig(name=identity.name), True, value)
    config = VolumeConfig(
        name=identity.name,
        driver=fields.text("driver", "local") or "local",
        options=fields.words("driver_opts"),
        labels={**identity.labels, **names.volume_labels(project, key)},
    )
    return Volume(key, with_hash(config), False, value)


def _section(key: str, value: Value, keys: Keys) -> Fields:
    if not names.SERVICE.fullmatch(key):
        value.error_at_key(f'"{key}" is no name', 'use letters, digits, ".", "_" and "-"')
    return Fields(value) if value.is_null else value.fields(keys)


def _identity(key: str, fields: Fields, project: str) -> _Identity:
    """The name on this machine, and whether it is made elsewhere."""
    external, own_name = False, ""
    if "external" in fields:
        value = fields["external"]
        if value.is_mapping:  # an old form: external: {name: x}
            external, own_name = True, value.fields(EXTERNAL).text("name")
        else:
            external = bool(value.flag())
    name = fields.parsed("name", units.container_name) or own_name or (key if external else f"{project}_{key}")
    return _Identity(name, external, fields.words("labels"))


def _refuse_beside_external(fields: Fields) -> None:
    for name, value in fields.items():
        if name not in ("name", "external"):
            value.error_at_key("has no place beside external", "what is made elsewhere is configured there")


def _pools(fields: Fields) -> list[tuple[PoolConfig, Value]]:
    if "ipam" not in fields or not fields["ipam"].is_mapping:
        return []
    config = fields["ipam"].pairs().get("config")
    return [(_pool(item), item) for item in (config.items() if config else ())]


def _pool(item: Value) -> PoolConfig:
    fields = item.fields(POOL)
    subnet = fields.parsed("subnet", units.subnet)
    ip_range = fields.parsed("ip_range", units.subnet)
    gateway = fields.parsed("gateway", units.address)
    auxiliary: dict[str, IPAddress] = {}
    if "aux_addresses" in fields:
        for name, value in fields["aux_addresses"].pairs().items():
            address = value.parsed(units.address)
            if address is not None:
                auxiliary[name] = address
    if "subnet" not in fields:
        for name in ("ip_range", "gateway", "aux_addresses"):
            if name in fields:
                fields[name].error_at_key("needs a subnet beside it")
        return PoolConfig()
    if subnet is not None and subnet.network_address.is_unspecified:
        for name in ("ip_range", "gateway", "aux_addresses"):
            if name in fields:
                fields[name].error_at_key(f"needs a subnet beside it; {subnet} asks for any of that size")
        return PoolConfig(size=subnet.prefixlen, family=6 if subnet.version == 6 else 4)
    if subnet is not None:
        if ip_range is not None and not (
            ip_range.version == subnet.version and ip_range.subnet_of(subnet)  # type: ignore[arg-type]
        ):
            fields["ip_range"].error(f"{ip_range} is outside the subnet {subnet}")
        if gateway is not None and gateway not in subnet:
            fields["gateway"].error(f"{gateway} is outside the subnet {subnet}")
        for name, address in auxiliary.items():
            if address not in subnet:
                fields["aux_addresses"].pairs()[name].error(f"{address} is outside the subnet {subnet}")
    return PoolConfig(subnet=subnet, ip_range=ip_range, gateway=gateway, auxiliary=auxiliary)


def _enabled(fields: Fields, family: Literal[4, 6], pools: list[PoolConfig]) -> bool:
    """IPv4 unless it is refused; IPv6 if it is asked for, as a subnet does by itself."""
    name = f"enable_ipv{family}"
    has_subnet = any(
        pool.subnet.version == family if pool.subnet is not None else pool.size is not None and pool.family == family
        for pool in pools
    )
    enabled = fields.flag(name, family == 4 or has_subnet)
    if has_subnet and not enabled:
        fields[name].error(f"is false, but an IPv{family} subnet is given", "drop one of the two")
    return enabled


def claim_gateways(network: Network, claimed: Mapping[IPAddress, Value]) -> NetworkConfig:
    """Move a gateway nobody chose out of the way of an address that a service chose.

    Left alone it would be the subnet's first address, which is what people give their routers.
    """
    pools = []
    for pool in network.config.pools:
        subnet = pool.subnet
        if subnet is None or pool.gateway is not None or not claimed:
            pools.append(pool)
            continue
        taken = {*claimed, *pool.auxiliary.values()}
        first = subnet.network_address + 1
        if subnet.num_addresses < 4 or first not in taken:
            pools.append(pool)
            continue
        candidate = first
        while candidate in taken and candidate in subnet:
            candidate += 1
        fits = candidate in subnet and candidate != subnet.broadcast_address
        pools.append(replace(pool, gateway=candidate) if fits else pool)
    return replace(network.config, pools=tuple(pools))
