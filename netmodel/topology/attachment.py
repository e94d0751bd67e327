"""How a service is attached: its networks, or the network mode that stands in for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from netmodel.model import EndpointConfig
from netmodel.topology import units
from netmodel.topology.keys import ATTACHMENT
from netmodel.topology.links import Link
from netmodel.topology.network import DEFAULT
from netmodel.topology.value import Fields, Value

_MODES = 'use bridge, host, none, "service:NAME" or "container:NAME"; other networks are joined with networks:'


@dataclass(frozen=True, slots=True)
class Attachment:
    """One network of a service.

    Args:
        key: The network's in the file; config.network is that, too, until names are final.
        value: Where it is attached.
        fields: Where the parts of it stand, for messages; empty in the list form.
    """

    key: str
    config: EndpointConfig
    value: Value
    fields: Fields

    @property
    def addresses(self) -> list[tuple[IPv4Address | IPv6Address, Value]]:
        found: list[tuple[IPv4Address | IPv6Address, Value]] = []
        if self.config.ipv4_address is not None:
            found.append((self.config.ipv4_address, self.fields["ipv4_address"]))
        if self.config.ipv6_address is not None:
            found.append((self.config.ipv6_address, self.fields["ipv6_address"]))
        return found


def read_mode(fields: Fields) -> str:
    """The network mode, "" when the service has networks instead."""
    if "network_mode" not in fields:
        return ""
    value = fields["network_mode"]
    mode = value.text()
    if not mode:
        return ""
    kind, colon, name = mode.partition(":")
    if mode in ("host", "none", "bridge"):
        found = mode
    elif mode == "default":
        found = "bridge"
    elif kind in ("service", "container") and colon and name:
        found = mode
    else:
        value.error(f'unknown network mode "{mode}"', _MODES)
        return ""
    if "networks" in fields:
        value.error_at_key("cannot stand beside networks", "keep one of the two")
    return found


def read(service: str, value: Value, fields: Fields, mode: str) -> list[Attachment]:
    """The networks in the order of their interfaces; the default network when nothing is said."""
    if mode:
        if "mac_address" in fields:
            fields["mac_address"].warn(f"has no effect with network_mode {mode}; ignored")
        return []
    found = _declared(service, fields["networks"]) if "networks" in fields else []
    if not found:
        found = [Attachment(DEFAULT, EndpointConfig(network=DEFAULT, aliases=(service,)), value, Fields(value))]
    mac = fields.parsed("mac_address", units.mac)
    if mac is not None:
        # The service's own address is that of the network it joins first.
        main = max(range(len(found)), key=lambda at: (found[at].config.priority, -at))
        attachment = found[main]
        if attachment.config.mac_address is None:
            found[main] = replace(attachment, config=replace(attachment.config, mac_address=mac))
    return found


def with_links(attachments: Sequence[Attachment], links: Sequence[Link]) -> list[Attachment]:
    """The same, with a service's links on each: they are looked up where the other one is met."""
    configs = tuple(one.config for one in links)
    return [replace(one, config=replace(one.config, links=configs)) for one in attachments]


def _declared(service: str, networks: Value) -> list[Attachment]:
    if networks.is_mapping:
        return [_attachment(service, key, value) for key, value in networks.pairs().items()]
    found: dict[str, Attachment] = {}
    for item in networks.items("a list or a mapping"):
        key = item.text()
        if key is None:
            continue
        if key in found:
            item.error(f'network "{key}" is given twice')
        found[key] = Attachment(key, EndpointConfig(network=key, aliases=(service,)), item, Fields(item))
    return list(found.values())


def _attachment(service: str, key: str, value: Value) -> Attachment:
    fields = value.fields(ATTACHMENT) if not value.is_null else Fields(value)
    aliases = [service]
    for alias in fields.each("aliases"):
        name = alias.parsed(units.host_name)
        if name is not None and name not in aliases:
            aliases.append(name)
    config = EndpointConfig(
        network=key,
        ipv4_address=fields.parsed("ipv4_address", units.address_v4),
        ipv6_address=fields.parsed("ipv6_address", units.address_v6),
        link_local_ips=tuple(
            address for item in fields.each("link_local_ips") if (address := item.parsed(units.address_link_local))
        ),
        aliases=tuple(aliases),
        mac_address=fields.parsed("mac_address", units.mac),
        interface_name=fields.parsed("interface_name", units.interface_name),
        priority=fields.integer("priority") or 0,
        gw_priority=fields.integer("gw_priority") or 0,
        driver_opts=fields.words("driver_opts"),
    )
    return Attachment(key, config, value, fields)
