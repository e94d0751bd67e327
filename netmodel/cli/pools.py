"""Subnets with what belongs to each: gateway, range, auxiliary addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import click


def pools(
    subnets: Iterable[str], gateways: Iterable[str], ranges: Iterable[str], auxiliary: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Pair each gateway, range and auxiliary address with the subnet that holds it."""
    config: list[dict[str, Any]] = [{"Subnet": _any_of_size(text)} for text in subnets]
    networks = [(pool, _network(pool["Subnet"])) for pool in config]

    def pool_of(address: str, what: str) -> dict[str, Any]:
        try:
            wanted = ip_address(address.partition("/")[0])
        except ValueError as error:
            raise click.UsageError(f"{what} {address!r} is not an address") from error
        for pool, network in networks:
            if wanted in network:
                return pool
        raise click.UsageError(f"{what} {address} is in none of the subnets: name its --subnet")

    for address in gateways:
        pool_of(address, "gateway")["Gateway"] = address
    for address in ranges:
        pool_of(address, "range")["IPRange"] = address
    for name, address in auxiliary.items():
        pool_of(address, "auxiliary address").setdefault("AuxiliaryAddresses", {})[name] = address
    return config


def _any_of_size(text: str) -> str:
    """A size alone, "/24" or "/64", asks for any free subnet of it; Docker's API writes that as 0.0.0.0/24 or ::/64."""
    if not (text.startswith("/") and text[1:].isascii() and text[1:].isdigit()):
        return text
    return f"::{text}" if int(text[1:]) > 32 else f"0.0.0.0{text}"


def _network(text: str) -> Any:
    try:
        return ip_network(text, strict=False)  # host bits are for the engine to refuse, with its hint
    except ValueError as error:
        raise click.UsageError(f"subnet {text!r} is not in CIDR notation") from error
