"""What an engine is told about its machine: by its command line, or for good by engine.json under its root.

The file's keys are those of Docker's daemon.json, and so are the names of the options. The engine is
started by whoever needs it first, so what shall always hold is written in the file and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from drivers.firewall import Mark
from ipam import DefaultPool
from netmodel.engine import settings_values as read
from netmodel.engine.realtime import check_realtime
from netmodel.engine.resolver import Resolver
from netmodel.engine.settings_as_it_is import AS_IT_IS, check_as_it_is
from netmodel.engine.settings_values import Reader
from netmodel.errors import Invalid
from netmodel.model import IPAddress, IPInterface, IPNetwork

S = TypeVar("S")
NO_NETWORK = "none"  # instead of a bridge


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """What the default network shall be like; None is as it would be otherwise.

    Args:
        bridge: An existing bridge to use; "none" for no default network at all.
        bip, bip6: The bridge's own address and the network's subnet in one.
        fixed_cidr, fixed_cidr_v6: Where containers' addresses come from; without the former the subnet, too.
        default_gateway, default_gateway_v6: Another machine by which containers reach the outside.
        ip: The host's address for ports published without one.
        icc: Its containers reach each other.
        mtu: In bytes.
    """

    bridge: str | None = None
    bip: IPInterface | None = None
    bip6: IPInterface | None = None
    fixed_cidr: IPNetwork | None = None
    fixed_cidr_v6: IPNetwork | None = None
    default_gateway: IPAddress | None = None
    default_gateway_v6: IPAddress | None = None
    ip: IPAddress | None = None
    icc: bool | None = None
    ip_masq: bool | None = None
    ipv6: bool | None = None
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Args:
    default_address_pools: Where automatic subnets come from, in order; a family without any has our own.
    default_network_options: By driver: what a network that users create has unless they say otherwise.
    ip_forward: False leaves forwarding of the host as it is.
    relays: Carry what the kernel does not translate of published ports.
    direct_routing: Published ports are reached from everywhere at the containers' own addresses, too.
    accepted_mark: Packets with it reach every port of every bridge network that is not internal.
    resolver: Name servers, search list and options instead of those of the host's resolv.conf.
    host_gateways: What "host-gateway" stands for in extra hosts, instead of each container's own gateway.
    storage_driver: How layers of images lie on the disk, unless there are some already: "overlay" or "copy".
    rt_runtime_us, rt_period_us: What containers share for real-time tasks, instead of what they need together.
    cdi_directories: Where vendors describe their devices; a later one goes before an earlier one.
    """

    default_address_pools: tuple[DefaultPool, ...] = ()
    default_network_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    default_bridge: BridgeSettings = BridgeSettings()
    resolver: Resolver = field(default_factory=Resolver)
    ip_forward: bool | None = None
    relays: bool | None = None
    direct_routing: bool | None = None
    accepted_mark: Mark | None = None
    host_gateways: tuple[IPAddress, ...] = ()
    storage_driver: str | None = None
    cdi_directories: tuple[str, ...] = ()
    rt_runtime_us: int | None = None
    rt_period_us: int | None = None

    def overridden_by(self, other: Settings | None) -> Settings:
        """These, but for what another one says.

        Raises:
            Invalid: The two together contradict each other.
        """
        found = _overridden(self, other) if other else self
        _check_together(found.default_bridge)
        if found.rt_period_us and not found.rt_runtime_us:
            raise Invalid(f"setting cpu-rt-period={found.rt_period_us} says nothing alone", "set cpu-rt-runtime, too")
        check_realtime(found.rt_runtime_us, found.rt_period_us)
        return found

    def pools_of(self, family: int, otherwise: Sequence[DefaultPool]) -> Sequence[DefaultPool]:
        return [pool for pool in self.default_address_pools if pool.base.version == family] or otherwise


def _overridden(one: S, other: S) -> S:
    """One, but for each field in which the other is not as if nobody had said anything."""
    changes = {}
    for each in fields(one):  # type: ignore[arg-type]
        mine, theirs = getattr(one, each.name), getattr(other, each.name)
        if isinstance(theirs, BridgeSettings | Resolver):
            changes[each.name] = _overridden(mine, theirs)
        elif theirs not in (None, (), {}):
            changes[each.name] = theirs
    return replace(one, **changes)  # type: ignore[type-var]


# Of the default network alone; of name service; of the whole engine. Each with the field it becomes.
_BRIDGE_KEYS: dict[str, tuple[str, Reader]] = {
    "bridge": ("bridge", read.link_name),
    "bip": ("bip", read.interface(4)),
    "bip6": ("bip6", read.interface(6)),
    "fixed-cidr": ("fixed_cidr", read.network(4)),
    "fixed-cidr-v6": ("fixed_cidr_v6", read.network(6)),
    "default-gateway": ("default_gateway", read.address(4)),
    "default-gateway-v6": ("default_gateway_v6", read.address(6)),
    "ip": ("ip", read.address(0)),
    "icc": ("icc", read.flag),
    "ip-masq": ("ip_masq", read.flag),
    "ipv6": ("ipv6", read.flag),
    "mtu": ("mtu", read.mtu),
}
_RESOLVER_KEYS: dict[str, tuple[str, Reader]] = {
    "dns": ("servers", read.name_servers),
    "dns-search": ("search", read.domains),
    "dns-opts": ("options", read.resolver_options),
}
_KEYS: dict[str, tuple[str, Reader]] = {
    "default-address-pools": ("default_address_pools", read.pools),
    "default-network-opts": ("default_network_options", read.network_options),
    "ip-forward": ("ip_forward", read.flag),
    "userland-proxy": ("relays", read.flag),
    "allow-direct-routing": ("direct_routing", read.flag),
    "bridge-accept-fwmark": ("accepted_mark", read.mark),
    "host-gateway-ips": ("host_gateways", read.gateways),
    "storage-driver": ("storage_driver", read.storage_driver),
    "cpu-rt-runtime": ("rt_runtime_us", read.microseconds),
    "cpu-rt-period": ("rt_period_us", read.microseconds),
    "cdi-spec-dirs": ("cdi_directories", read.directories),
}


def read_settings(path: Path) -> Settings:
    """Read engine.json; without one everything is as usual.

    Raises:
        Invalid: It is no JSON, or says something that we do not understand; names the key.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Settings()
    except ValueError as error:
        raise Invalid(f"{path}: not JSON: {error}", "correct it, or remove the file") from error
    if not isinstance(found, dict):
        raise Invalid(f"{path}: not a JSON object", 'write it as {"default-address-pools": ...}')
    return settings_of(found, f"{path}: ")


def settings_of(said: Mapping[str, Any], where: str) -> Settings:
    """What these keys say.

    Args:
        where: Stands before a key in messages: "/var/lib/netmodel/engine.json: ", or "--".

    Raises:
        Invalid: Names the key.
    """
    values: dict[str, Any] = {}
    of_bridge: dict[str, Any] = {}
    of_resolver: dict[str, Any] = {}
    for key, value in said.items():
        if key in AS_IT_IS:
            check_as_it_is(where, key, value)
        elif key in _BRIDGE_KEYS:
            name, reader = _BRIDGE_KEYS[key]
            of_bridge[name] = reader(f"{where}{key}", value)
        elif key in _RESOLVER_KEYS:
            name, reader = _RESOLVER_KEYS[key]
            of_resolver[name] = reader(f"{where}{key}", value)
        elif key in _KEYS:
            name, reader = _KEYS[key]
            values[name] = reader(f"{where}{key}", value)
        else:
            near = get_close_matches(key, [*_KEYS, *_BRIDGE_KEYS, *_RESOLVER_KEYS, *AS_IT_IS], 1)
            raise Invalid(f"{where}{key}: no such setting", f"did you mean {near[0]}?" if near else "remove it")
    return Settings(**values, default_bridge=BridgeSettings(**of_bridge), resolver=Resolver(**of_resolver))


def said(settings: Settings) -> dict[str, Any]:
    """What somebody said, as engine.json has it."""
    found: dict[str, Any] = {}
    parts = ((_BRIDGE_KEYS, settings.default_bridge), (_RESOLVER_KEYS, settings.resolver), (_KEYS, settings))
    for keys, values in parts:
        for key, (name, _) in keys.items():
            value = getattr(values, name)
            if value not in (None, (), {}):
                found[key] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | Mapping):
        return value
    if isinstance(value, DefaultPool):
        return {"base": str(value.base), "size": value.size}
    return [_plain(one) for one in value] if isinstance(value, tuple) else str(value)


def _check_together(one: BridgeSettings) -> None:
    """Refuse what cannot be of one network."""
    if one.bridge is not None:
        for key, given in (("bip", one.bip), ("bip6", one.bip6)):
            if given is not None:
                raise Invalid(
                    f"settings bridge={one.bridge} and {key}={given} exclude each other",
                    f"give {one.bridge} its address yourself, or leave out bridge"
                    if one.bridge != NO_NETWORK
                    else "leave out one of them",
                )
    if not one.ipv6:
        of_ipv6 = {"bip6": one.bip6, "fixed-cidr-v6": one.fixed_cidr_v6, "default-gateway-v6": one.default_gateway_v6}
        for key, of_v6 in of_ipv6.items():
            if of_v6 is not None:
                raise Invalid(
                    f"setting {key}={of_v6}: the default network has no IPv6", 'set "ipv6": true, or leave it out'
                )
