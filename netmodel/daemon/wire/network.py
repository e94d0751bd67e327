"""Networks in Docker's JSON, in both directions."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from msgspec import field

from drivers import bridge_options
from ipam.api import Usage
from netmodel.daemon.wire.decode import Body, address, decode, network, refuse
from netmodel.daemon.wire.encode import moment
from netmodel.daemon.wire.endpoint import EndpointSettings
from netmodel.errors import Invalid
from netmodel.model import Container, Endpoint, EndpointConfig, Network, NetworkConfig, NetworkPool, PoolConfig

_LARGEST = 2**64 - 1  # an unsigned number of 64 bits, where Docker's counts stop


class IpamPool(Body):
    subnet: str | None = None
    ip_range: str | None = field(default=None, name="IPRange")
    gateway: str | None = None
    auxiliary_addresses: dict[str, str] | None = None
    aux_address: dict[str, str] | None = None  # what Docker's clients before 1.25 called it

    def config(self) -> PoolConfig:
        auxiliary = self.auxiliary_addresses or self.aux_address or {}
        subnet = network(self.subnet, "Subnet") if self.subnet else None
        # Docker's way to ask for any subnet of a size: 0.0.0.0/24 or ::/64.
        only_size = subnet is not None and subnet.network_address.is_unspecified
        return PoolConfig(
            subnet=None if only_size else subnet,
            size=subnet.prefixlen if subnet is not None and only_size else None,
            family=6 if subnet is not None and subnet.version == 6 else 4,
            ip_range=network(self.ip_range, "IPRange") if self.ip_range else None,
            gateway=address(self.gateway, "Gateway") if self.gateway else None,
            auxiliary={name: address(text, f"AuxiliaryAddresses.{name}") for name, text in auxiliary.items()},
        )


class Ipam(Body):
    driver: str | None = None
    options: dict[str, str] | None = None
    config: list[IpamPool] | None = None


class ConfigFrom(Body):
    network: str = ""


class CreateRequest(Body):
    name: str = ""
    driver: str | None = None
    scope: str | None = None
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigFrom | None = None
    ipam: Ipam | None = field(default=None, name="IPAM")
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = field(default=None, name="EnableIPv6")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class ConnectRequest(Body):
    container: str = ""
    endpoint_config: EndpointSettings | None = None


class DisconnectRequest(Body):
    container: str = ""
    force: bool = False


def read_create(data: bytes) -> NetworkConfig:
    request = decode(CreateRequest, data)
    ipam = request.ipam or Ipam()
    if not request.name:
        raise Invalid("the network has no name", "give it one")
    refuse(
        [
            (f"Scope={request.scope}", request.scope not in (None, "", "local")),
            ("Ingress", request.ingress),
        ]
    )
    return NetworkConfig(
        name=request.name,
        driver=request.driver or "bridge",
        options=request.options or {},
        labels=request.labels or {},
        internal=request.internal,
        attachable=request.attachable,
        enable_ipv4=request.enable_ipv4 is not False,
        enable_ipv6=bool(request.enable_ipv6),
        ipam_driver=ipam.driver or "default",
        ipam_options=ipam.options or {},
        pools=tuple(pool.config() for pool in ipam.config or ()),
        config_only=request.config_only,
        config_from=request.config_from.network if request.config_from else "",
    )


def read_connect(network_ref: str, data: bytes) -> tuple[str, EndpointConfig]:
    """The container, and the attachment asked for."""
    request = decode(ConnectRequest, data)
    if not request.container:
        raise Invalid("no container is named", "give its name or id as Container")
    return request.container, (request.endpoint_config or EndpointSettings()).config(network_ref)


def read_disconnect(data: bytes) -> tuple[str, bool]:
    request = decode(DisconnectRequest, data)
    if not request.container:
        raise Invalid("no container is named", "give its name or id as Container")
    return request.container, request.force


def shape(record: Network, members: Iterable[tuple[Container, Endpoint | None]] | None = None) -> dict[str, Any]:
    """A network as Docker tells it.

    Args:
        members: Who is on it, without an endpoint on the host's and none; None in listings, where Docker
            leaves it out.
    """
    config = record.config
    return {
        "Name": record.name,
        "Id": record.id,
        "Created": moment(record.created_at),
        "Scope": "local",
        "Driver": config.driver,
        "EnableIPv4": config.enable_ipv4,
        "EnableIPv6": config.enable_ipv6,
        "IPAM": {
            "Driver": config.ipam_driver,
            "Options": dict(config.ipam_options) or None,
            "Config": [_pool(pool) for pool in (config.pools if config.config_only else record.pools)],
        },
        "Internal": config.internal,
        "Attachable": config.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": config.config_from},
        "ConfigOnly": config.config_only,
        "Containers": {container.id: _member(container, endpoint) for container, endpoint in members or ()},
        "Options": {**(_default_options(record) if record.name == "bridge" else {}), **config.options},
        "Labels": dict(config.labels),
    }


def _default_options(record: Network) -> dict[str, str]:
    """What Docker says of the default network without being asked to, and its clients look for."""
    return {
        bridge_options.DEFAULT_BRIDGE: "true",
        bridge_options.ICC: "true",
        bridge_options.MASQUERADE: "true",
        bridge_options.HOST_BINDING: "0.0.0.0",
        bridge_options.NAME: f"br-{record.id[:12]}",
    }


def status(usage: Iterable[tuple[NetworkPool, Usage]]) -> dict[str, Any]:
    """How full its subnets are, which Docker tells of one network, not in listings."""
    subnets = {
        str(pool.subnet): {
            "IPsInUse": min(used.in_use + used.special, _LARGEST),
            "DynamicIPsAvailable": min(used.available, _LARGEST),
        }
        for pool, used in usage
    }
    return {"Status": {"IPAM": {"Subnets": subnets}}}


def _pool(pool: NetworkPool | PoolConfig) -> dict[str, Any]:
    """A subnet that a network has, or that settings alone ask for."""
    answer: dict[str, Any] = {}
    if pool.subnet:
        answer["Subnet"] = str(pool.subnet)
    elif isinstance(pool, PoolConfig) and pool.size is not None:
        answer["Subnet"] = f"{'::' if pool.family == 6 else '0.0.0.0'}/{pool.size}"
    if pool.ip_range:
        answer["IPRange"] = str(pool.ip_range)
    if pool.gateway:
        answer["Gateway"] = str(pool.gateway)
    if pool.auxiliary:
        answer["AuxiliaryAddresses"] = {name: str(ip) for name, ip in pool.auxiliary.items()}
    return answer


def _member(container: Container, endpoint: Endpoint | None) -> dict[str, str]:
    if endpoint is None:
        return {"Name": container.name, **dict.fromkeys(("EndpointID", "MacAddress", "IPv4Address", "IPv6Address"), "")}
    return {
        "Name": container.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": next((str(a) for a in endpoint.addresses if isinstance(a, IPv4Interface)), ""),
        "IPv6Address": next((str(a) for a in endpoint.addresses if isinstance(a, IPv6Interface)), ""),
    }
