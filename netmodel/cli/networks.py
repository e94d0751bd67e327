"""--network and what goes with it, as the API wants it."""

from __future__ import annotations

from typing import Any

import click

IFNAME = "com.docker.network.endpoint.ifname"
_KEYS = ("name", "ip", "ip6", "link-local-ip", "alias", "mac-address", "interface", "gw-priority", "driver-opt")


def endpoints(o: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network mode, and the settings of each attachment by network."""
    wanted = [_parse(text) for text in o["networks"]] or [("default", {})]
    mode = wanted[0][0]
    settings: dict[str, Any] = {}
    for name, endpoint in wanted:
        if name in settings:
            raise click.UsageError(f"network {name!r} is named twice")
        settings[name] = endpoint
    first = settings[mode]
    for option, key in (("ip", "IPv4Address"), ("ip6", "IPv6Address")):
        if o[option]:
            first.setdefault("IPAMConfig", {})[key] = o[option]
    if o["link_local_ips"]:
        first.setdefault("IPAMConfig", {})["LinkLocalIPs"] = list(o["link_local_ips"])
    if o["aliases"]:
        first["Aliases"] = [*first.get("Aliases", []), *o["aliases"]]
    if o["links"] and mode not in ("default", "bridge"):
        first["Links"] = list(o["links"])
    if o["mac_address"]:
        first["MacAddress"] = o["mac_address"]
    if mode in ("host", "none") or mode.startswith("container:"):
        if first:
            raise click.UsageError(f"--network {mode} has no endpoint: addresses and aliases make no sense with it")
        others = [name for name in settings if name != mode]
        if others:
            raise click.UsageError(f"--network {mode} and --network {others[0]} exclude each other")
        return mode, {}
    return mode, settings


def endpoint_settings(
    *,
    ip: str = "",
    ip6: str = "",
    link_local_ips: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
    mac: str = "",
    interface: str = "",
    gw_priority: int = 0,
    options: dict[str, str] | None = None,
    links: tuple[str, ...] = (),
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if ip:
        settings.setdefault("IPAMConfig", {})["IPv4Address"] = ip
    if ip6:
        settings.setdefault("IPAMConfig", {})["IPv6Address"] = ip6
    if link_local_ips:
        settings.setdefault("IPAMConfig", {})["LinkLocalIPs"] = list(link_local_ips)
    if aliases:
        settings["Aliases"] = list(aliases)
    if mac:
        settings["MacAddress"] = mac
    if links:
        settings["Links"] = list(links)
    if gw_priority:
        settings["GwPriority"] = gw_priority
    driver = {**(options or {}), **({IFNAME: interface} if interface else {})}
    if driver:
        settings["DriverOpts"] = driver
    return settings


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """NAME, or name=NAME,ip=ADDRESS,alias=NAME,..."""
    if "=" not in text:
        return text, {}
    values: dict[str, list[str]] = {}
    for item in text.split(","):
        key, _, value = item.partition("=")
        if key not in _KEYS:
            raise click.UsageError(f"network {text!r}: {key!r} is not one of {', '.join(_KEYS)}")
        values.setdefault(key, []).append(value)
    if "name" not in values:
        raise click.UsageError(f"network {text!r} has no name: add name=NAME")
    single = {key: found[-1] for key, found in values.items()}
    try:
        priority = int(single.get("gw-priority", "0"))
    except ValueError as error:
        raise click.UsageError(f"network {text!r}: gw-priority is not a whole number") from error
    options = dict(item.partition("=")[::2] for item in values.get("driver-opt", []))
    return single["name"], endpoint_settings(
        ip=single.get("ip", ""),
        ip6=single.get("ip6", ""),
        link_local_ips=tuple(values.get("link-local-ip", ())),
        aliases=tuple(values.get("alias", ())),
        mac=single.get("mac-address", ""),
        interface=single.get("interface", ""),
        gw_priority=priority,
        options=options,
    )
