"""links and external_links: names of a service's own for other services, or for containers of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netmodel.model import EndpointConfig, LinkConfig
from netmodel.topology import units
from netmodel.topology.value import Fields, Value

_MODES = ("", "bridge")


@dataclass(frozen=True, slots=True)
class Link:
    """Args:
    config: Its target is a service's name, which all its containers have on a network, or a container's.
    service: Whether the former.
    """

    config: LinkConfig
    service: bool
    value: Value


def read(fields: Fields, mode: str) -> list[Link]:
    """Those of a service, in the order in which they are declared."""
    found = []
    for key in ("links", "external_links"):
        if key in fields and mode not in _MODES:
            fields[key].error_at_key(f"makes no sense with network_mode {mode}", "leave out one of the two")
            continue
        for item in fields.each(key):
            link = item.parsed(_link)
            if link is not None:
                found.append(Link(link, key == "links", item))
    return found


def of_default_network(links: list[Link], container_of: Callable[[str], str]) -> tuple[EndpointConfig, ...]:
    """The attachment of a service on the engine's default network, where services have no names.

    Args:
        container_of: A service's first container.
    """
    if not links:
        return ()
    targets = [container_of(one.config.target) if one.service else one.config.target for one in links]
    configs = (LinkConfig(target=name, alias=one.config.alias) for name, one in zip(targets, links, strict=True))
    return (EndpointConfig(network="bridge", links=tuple(configs)),)


def _link(text: str) -> LinkConfig:
    target, colon, alias = text.partition(":")
    if not target or (colon and not alias):
        raise ValueError(f'"{text}" is not NAME or NAME:ALIAS')
    return LinkConfig(target=target, alias=units.host_name(alias or target))
