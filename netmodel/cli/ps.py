"""ps."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.filters import filter_option, filters
from netmodel.cli.listing import listing_options, print_list
from netmodel.cli.session import Session, Verb
from netmodel.cli.table import short
from netmodel.cli.units import size

_HEADER = ("CONTAINER ID", "IMAGE", "COMMAND", "STATUS", "ADDRESSES", "PORTS", "NAMES")


@click.command(cls=Verb)
@click.option("-a", "--all", "every", is_flag=True, help="Stopped ones, too")
@click.option("-n", "--last", type=int, default=0, help="The N made last, in any state")
@click.option("-l", "--latest", is_flag=True, help="The one made last, in any state")
@click.option("-s", "--size", "sized", is_flag=True, help="What they have written, and that with their images")
@filter_option
@listing_options
@click.pass_obj
def ps(session: Session, /, every: bool, last: int, latest: bool, sized: bool, **o: Any) -> None:
    """List containers."""
    last = 1 if latest else last
    found = session.client.get("/containers/json", all=every, limit=last, size=sized, filters=filters(o["filters"]))
    print_list(found, o, (*_HEADER, "SIZE") if sized else _HEADER, _row, _fields)


def _row(one: dict[str, Any], whole: bool) -> tuple[str, ...]:
    fields = _fields(one, whole)
    names = ("ID", "Image", "Command", "Status", "Addresses", "Ports", "Names", *(("Size",) if "SizeRw" in one else ()))
    return tuple(fields[name] for name in names)


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
        "Size": f"{size(one['SizeRw'])} (virtual {size(one['SizeRootFs'])})" if "SizeRw" in one else "",
    }


def _address(settings: dict[str, Any]) -> str:
    return " ".join(filter(None, (settings.get("IPAddress", ""), settings.get("GlobalIPv6Address", ""))))


def ports(found: list[dict[str, Any]]) -> str:
    """Published ports in Docker's words, each once: "8080->80/tcp" is on all addresses of the host.

    Those that follow each other are one range: "8000-8999->80-1079/tcp".
    """
    runs: list[_Run] = []
    last: dict[tuple[str, str], _Run] = {}
    seen = set()
    for one in found:
        ip = one.get("IP", "")
        host = "" if ip in ("0.0.0.0", "::", "") else f"[{ip}]:" if ":" in ip else f"{ip}:"
        port = (host, one.get("PublicPort", 0), one["PrivatePort"], one["Type"])
        if port in seen:
            continue
        seen.add(port)
        run = last.get((host, one["Type"]))
        if run is None or not run.take(port[1], port[2]):
            run = _Run(host, *port[1:])
            last[host, one["Type"]] = run
            runs.append(run)
    return ", ".join(map(str, runs))


class _Run:
    """Ports of the host and of the container that count up together."""

    def __init__(self, host: str, public: int, private: int, protocol: str) -> None:
        self._host, self._public, self._private, self._protocol = host, public, private, protocol
        self._more = 0

    def take(self, public: int, private: int) -> bool:
        """Become longer by one port, if it is the next."""
        more = self._more + 1
        if private != self._private + more or public != (self._public and self._public + more):
            return False
        self._more = more
        return True

    def __str__(self) -> str:
        container = f"{self._range(self._private)}/{self._protocol}"
        return f"{self._host}{self._range(self._public)}->{container}" if self._public else container

    def _range(self, first: int) -> str:
        return f"{first}-{first + self._more}" if self._more else str(first)
