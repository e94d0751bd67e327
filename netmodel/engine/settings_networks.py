"""Networks that are settings alone (config-only), and networks that take theirs from one (config-from).

As Docker has them, in what may stand beside each other and in its words for the two.
"""

from __future__ import annotations

from dataclasses import replace

from netmodel.engine.core import Core
from netmodel.errors import Conflict, Forbidden
from netmodel.model import Network, NetworkConfig


def settings_alone(config: NetworkConfig) -> NetworkConfig:
    """A config-only network as it is kept: of driver null, so that whoever attaches to it finds no link.

    Raises:
        Forbidden: It says what only a network that exists can be.
    """
    if config.config_from:
        raise Forbidden(
            f"network {config.name} is settings alone and cannot take them from network {config.config_from}",
            "leave out one of config-only and config-from",
        )
    for word, wanted in (("internal", config.internal), ("attachable", config.attachable)):
        if wanted:
            raise Forbidden(
                f"network {config.name} is settings alone and cannot be {word}",
                f"say {word} of the networks that take their settings from it",
            )
    return replace(config, driver="null")


def filled_in(core: Core, config: NetworkConfig) -> NetworkConfig:
    """What is wished for, with the settings of the network it names.

    Raises:
        NotFound: There is none of that name.
        Forbidden: That one is no config-only network, or the wish has settings of its own.
    """
    source = core.records.networks.find(config.config_from)
    if not source.config.config_only:
        raise Forbidden(
            f"network {source.name} is not settings alone: network {config.name} cannot take its own from there",
            f"create a network with --config-only, and name that instead of {source.name}",
        )
    own = {
        "subnets": config.pools,
        "driver options": config.options,
        "labels": config.labels,
        "an IPAM driver": config.ipam_driver != "default",
        "IPAM options": config.ipam_options,
        "IPv6": config.enable_ipv6,
        "no IPv4": not config.enable_ipv4,
    }
    for what, given in own.items():
        if given:
            raise Forbidden(
                f"network {config.name} takes its settings from network {source.name} and cannot ask for {what} itself",
                f"say so when you create {source.name}, or leave out config-from",
            )
    settings = source.config
    return replace(
        config,
        config_from=source.name,
        pools=settings.pools,
        options=settings.options,
        labels=settings.labels,
        ipam_driver=settings.ipam_driver,
        ipam_options=settings.ipam_options,
        enable_ipv4=settings.enable_ipv4,
        enable_ipv6=settings.enable_ipv6,
    )


def check_unused(core: Core, source: Network) -> None:
    """Refuse to remove settings that networks were made from.

    Raises:
        Conflict: Names those networks.
    """
    users = sorted(one.name for one in core.records.networks if one.config.config_from == source.name)
    if source.config.config_only and users:
        raise Conflict(f"network {source.name} has the settings of: {', '.join(users)}", "remove these networks first")
