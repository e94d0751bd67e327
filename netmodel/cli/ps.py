"""ps."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.filters import filter_option, filters
from netmodel.cli.listing import listing_options, print_list
from netmodel.cli.session import Session, Verb
from netmodel.cli.table import short

_HEADER = ("CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "ADDRESSES", "PORTS", "NAMES")


@click.command(cls=Verb)
@click.option("-a", "--all", "every", is_flag=True, help="Stopped ones, too")
@click.option("-n", "--last", type=int, default=0, help="The N made last, in any state")
@filter_option
@listing_options
@click.pass_obj
def ps(session: Session, /, every: bool, last: int, **o: Any) -> None:
    """List containers."""
    found = session.client.get("/containers/json", all=every, limit=last, filters=filters(o["filters"]))
    print_list(found, o, _HEADER, _row, _fields)


def _row(one: dict[str, Any], whole: bool) -> tuple[str, ...]:
    fields = _fields(one, whole)
    return tuple(fields[name] for name in ("ID", "Image", "Command", "Status", "Addresses", "Ports", "Names"))


def _fields(one: dict[str, Any], whole: bool) -> dict[str, Any]:
    networks = one["NetworkSettings"]["Networks"]
    return {
        "ID": one["Id"] if whole else one["Id"][:12],
        "Image": one["Image"],
        "Command": f'"{one["Command"] if whole else short(one["Command"], 20)}"',
        "State": one["State"],
        "Status": one["Status"],
        "Addresses": ", ".join(filter(None, (_address(settings) for settings in networks.values()))),
        "Networks": ",".join(networks),
        "Ports": ports(one["Ports"]),
        "Names": ",".join(name[1:] for name in one["Names"]),
        "Labels": ",".join(f"{name}={value}" for name, value in one["Labels"].items()),
        "CreatedAt": one["Created"],
    }


def _address(settings: dict[str, Any]) -> str:
    return " ".join(filter(None, (settings.get("IPAddress", ""), settings.get("GlobalIPv6Address", ""))))


def ports(found: list[dict[str, Any]]) -> str:
    """Published ports in Docker's words, each once: "8080->80/tcp" is on all addresses of the host."""
    texts = []
    for one in found:
        container = f"{one['PrivatePort']}/{one['Type']}"
        if "PublicPort" not in one:
            texts.append(container)
            continue
        ip = one.get("IP", "")
        host = "" if ip in ("0.0.0.0", "::", "") else f"[{ip}]:" if ":" in ip else f"{ip}:"
        texts.append(f"{host}{one['PublicPort']}->{container}")
    return ", ".join(dict.fromkeys(texts))
