"""The options of `engine run` that are settings: dockerd's names, and the keys of engine.json that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_NUMBERS = ("BYTES", "MICROSECONDS")
_LISTS = ("host-gateway-ips", "cdi-spec-dirs", "dns", "dns-search", "dns-opts")
# Key in engine.json, option where it is called otherwise, kind of value, help.
_SETTINGS: tuple[tuple[str, str, str, str], ...] = (
    ("bridge", "", "NAME", "Existing bridge of the default network, or none to have no such network"),
    ("bip", "", "ADDRESS/LENGTH", "IPv4 address and subnet of the default network's bridge"),
    ("bip6", "", "ADDRESS/LENGTH", "IPv6 address and subnet of the default network's bridge"),
    ("fixed-cidr", "", "SUBNET", "Where IPv4 addresses on the default network come from"),
    ("fixed-cidr-v6", "", "SUBNET", "Where IPv6 addresses on the default network come from"),
    ("default-gateway", "", "ADDRESS", "Another way out of the default network than the host"),
    ("default-gateway-v6", "", "ADDRESS", "The same for IPv6"),
    ("ip", "", "ADDRESS", "Address of the host for ports published without one from the default network"),
    ("icc", "", "flag", "Whether containers on the default network reach each other [true]"),
    ("ip-masq", "", "flag", "Whether the outside sees those by the host's address [true]"),
    ("ipv6", "", "flag", "IPv6 on the default network [false]"),
    ("mtu", "", "BYTES", "MTU of the default network, in bytes"),
    ("ip-forward", "", "flag", "Let this host forward packets when a network needs it [true]"),
    ("allow-direct-routing", "", "flag", "Published ports are reached at containers' own addresses, too [false]"),
    ("bridge-accept-fwmark", "", "MARK[/MASK]", "Packets with this mark reach every port of bridge networks"),
    ("host-gateway-ips", "host-gateway-ip", "ADDRESS", "What host-gateway means in --add-host; one of each family"),
    (
        "storage-driver",
        "",
        "DRIVER",
        "How new layers lie on the disk: overlay or copy [what the disk allows]",
    ),
    ("dns", "", "ADDRESS", "Name server for what we do not know, instead of the host's; three at most"),
    ("dns-search", "", "DOMAIN", "Search list of containers, instead of the host's"),
    ("dns-opts", "dns-opt", "OPTION", "Options of containers' resolvers, instead of the host's"),
    ("cpu-rt-runtime", "", "MICROSECONDS", "Microseconds of each period that containers share for real-time tasks"),
    ("cpu-rt-period", "", "MICROSECONDS", "That period [1000000]"),
    ("cdi-spec-dirs", "cdi-spec-dir", "DIRECTORY", "Where devices are described [/etc/cdi, /var/run/cdi]"),
    ("userland-proxy", "", "flag", "Relay what the kernel cannot translate of published ports [true]"),
    ("iptables", "", "flag", "Only true: the firewall is one nft table of the engine's own"),
    ("ip6tables", "", "flag", "The same for IPv6"),
    ("ip-forward-no-drop", "", "flag", "Only true: what the host forwards for others is not dropped"),
    ("firewall-backend", "", "NAME", "Only nftables"),
    ("live-restore", "", "flag", "Only true: containers run on when the engine stops"),
)


def setting_options(function: F) -> F:
    for key, name, kind, text in reversed(_SETTINGS):
        option, value = f"--{name or key}", key.replace("-", "_")
        if kind == "flag":  # as dockerd's: --ipv6, --icc=false
            made = click.option(option, value, type=bool, is_flag=False, flag_value=True, default=None, help=text)
        elif kind in _NUMBERS:
            made = click.option(option, value, type=int, default=None, metavar=kind, help=text)
        else:
            made = click.option(option, value, multiple=key in _LISTS, default=None, metavar=kind, help=text)
        function = made(function)
    return function


def settings_said(o: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given, as engine.json would have them."""
    said = {key: o[key.replace("-", "_")] for key, _, _, _ in _SETTINGS}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in said.items()
        if value not in (None, ())
    }
