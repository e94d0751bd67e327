"""A project as the engine's API shows it, parsed into what probing needs: who is where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import msgspec

from netmodel.probe.probe import IPAddress
from netmodel.project import Expectation

IPInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One link of a node. network is the network's name, key its name in the file."""

    network: str
    key: str
    addresses: tuple[IPInterface, ...]

    def named(self, network: str) -> bool:
        return network in (self.network, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A container, or the machine itself.

    Args:
        netns: None is the namespace of this process: the host's.
    """

    name: str
    service: str
    netns: Path | None
    running: bool = True
    state: str = "running"
    attachments: tuple[Attachment, ...] = ()

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return tuple(address.ip for attachment in self.attachments for address in attachment.addresses)

    def shares_stack_with(self, other: Node) -> bool:
        return self.netns == other.netns


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A network: its names and the addresses the host may have on it."""

    name: str
    key: str
    gateways: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    name: str
    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    expectations: tuple[Expectation, ...] = ()

    def named(self, name: str) -> tuple[Node, ...]:
        """The containers of a service, or the container of that name, or the host; () is nobody."""
        if name == HOST.name and not any(name in (node.service, node.name) for node in self.nodes):
            return (HOST,)
        replicas = tuple(node for node in self.nodes if node.service == name)
        return replicas or tuple(node for node in self.nodes if node.name == name)

    def owner(self, address: IPAddress) -> Node | None:
        return next((node for node in self.nodes if address in node.addresses), None)

    def segment(self, attachment: Attachment) -> Segment | None:
        return next((s for s in self.segments if attachment.network in (s.name, s.key)), None)

    def gateways(self, node: Node) -> Iterator[IPAddress]:
        for attachment in node.attachments:
            segment = self.segment(attachment)
            yield from segment.gateways if segment else ()

    def neighbours(self, node: Node) -> Iterator[tuple[Node, Attachment]]:
        """Running nodes on a network of this one, each with its link there."""
        mine = {attachment.network for attachment in node.attachments}
        for other in self.nodes:
            if other.running and not other.shares_stack_with(node):
                yield from ((other, link) for link in other.attachments if link.network in mine)


HOST = Node(name="host", service="host", netns=None)


def parse(data: Mapping[str, Any]) -> View:
    """Read the answer of GET /netmodel/projects/NAME."""
    containers = data.get("containers") or ()
    # Whatever path leads to it: the host's stack is the one we are in ourselves.
    hosts = {container.get("netns") for container in containers if container.get("network_mode") == "host"}
    nodes = [_node(container, hosts) for container in containers]
    return View(
        name=data.get("name", ""),
        nodes=tuple(_with_shared_links(node, nodes) for node in nodes),
        segments=tuple(_segment(network) for network in data.get("networks") or ()),
        expectations=parse_expectations(data.get("expectations") or ()),
    )


def parse_expectations(data: Sequence[Any]) -> tuple[Expectation, ...]:
    return tuple(
        item if isinstance(item, Expectation) else msgspec.convert(item, Expectation, strict=False) for item in data
    )


def _node(container: Mapping[str, Any], hosts: Set[str | None]) -> Node:
    name = container["name"].lstrip("/")
    state = container.get("state") or "running"
    netns = container.get("netns")
    return Node(
        name=name,
        service=container.get("service") or name,
        netns=Path(netns) if netns and netns not in hosts else None,
        # A stopped container's namespace may still be pinned, but nobody is at home.
        running=state in ("running", "paused", "restarting"),
        state=state,
        attachments=tuple(_attachment(endpoint) for endpoint in container.get("endpoints") or ()),
    )


def _attachment(endpoint: Mapping[str, Any]) -> Attachment:
    network = endpoint.get("network") or ""
    return Attachment(
        network=network,
        key=endpoint.get("network_key") or network,
        addresses=tuple(ip_interface(address) for address in endpoint.get("addresses") or ()),
    )


def _with_shared_links(node: Node, nodes: Sequence[Node]) -> Node:
    """A container that joined another's sandbox has that one's links."""
    if node.attachments or node.netns is None:
        return node
    owner = next((other for other in nodes if other.netns == node.netns and other.attachments), node)
    return replace(node, attachments=owner.attachments)


def _segment(network: Mapping[str, Any]) -> Segment:
    name = network.get("name") or ""
    pools = [pool if isinstance(pool, Mapping) else {"subnet": pool} for pool in network.get("subnets") or ()]
    told = [ip_address(gateway) for gateway in network.get("gateways") or ()]
    return Segment(
        name=name,
        key=network.get("key") or name,
        gateways=tuple(told or (gateway for pool in pools if (gateway := _gateway(pool)) is not None)),
    )


def _gateway(pool: Mapping[str, Any]) -> IPAddress | None:
    if pool.get("gateway"):
        return ip_address(str(pool["gateway"]).partition("/")[0])
    subnet = pool.get("subnet")
    # Not told: the host most often has the first address. Where it has not, nothing answers there.
    return next(ip_network(subnet).hosts(), None) if subnet else None
