"""network: create, ls, inspect, connect, disconnect, rm, prune."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.filters import filters
from netmodel.cli.listing import listing_options, print_list
from netmodel.cli.names import CONTAINER, NETWORK, SETTINGS
from netmodel.cli.session import Session, Verb, each, note
from netmodel.cli.words import DRIVER, ENDPOINT_OPTION, IPAM_DRIVER, NETWORK_FILTER, NETWORK_OPTION

_HEADER = ("NETWORK ID", "NAME", "DRIVER", "SUBNETS", "")


@click.group()
def network() -> None:
    """Create, show, join and remove networks."""


@network.command(cls=Verb)
@click.option("-f", "--filter", "filters", multiple=True, type=NETWORK_FILTER, help="Only those with NAME=VALUE")
@listing_options
@click.pass_obj
def ls(session: Session, /, **o: Any) -> None:
    """List networks."""
    found = session.client.get("/networks", filters=filters(o["filters"]))
    print_list(found, o, _HEADER, _row, _fields)


def _row(one: dict[str, Any], whole: bool) -> tuple[str, ...]:
    fields = _fields(one, whole)
    notes = "internal" if one["Internal"] else "settings alone" if one["ConfigOnly"] else ""
    return (fields["ID"], fields["Name"], fields["Driver"], fields["Subnets"], notes)


def _fields(one: dict[str, Any], whole: bool) -> dict[str, Any]:
    return {
        "ID": one["Id"] if whole else one["Id"][:12],
        "Name": one["Name"],
        "Driver": one["Driver"],
        "Scope": one["Scope"],
        "Subnets": "by DHCP" if one["IPAM"]["Driver"] == "dhcp" else _subnets(one),
        "Internal": one["Internal"],
        "IPv6": one["EnableIPv6"],
        "CreatedAt": one["Created"],
        "Labels": ",".join(f"{name}={value}" for name, value in one["Labels"].items()),
    }


def _subnets(one: dict[str, Any]) -> str:
    return ", ".join(pool["Subnet"] for pool in one["IPAM"]["Config"] if "Subnet" in pool)


@network.command(cls=Verb)
@click.option("-d", "--driver", default="bridge", type=DRIVER, is_eager=True, help="Driver [bridge]")
@click.option("--subnet", "subnets", multiple=True, help="Subnet in CIDR notation, or its size alone: /24")
@click.option("--gateway", "gateways", multiple=True, help="Gateway of a subnet")
@click.option("--ip-range", "ranges", multiple=True, help="Part of a subnet that addresses are given out of")
@click.option("--aux-address", "auxiliary", multiple=True, help="Address not to give out: NAME=ADDRESS")
@click.option("--ipv4/--no-ipv4", default=True, help="Give IPv4 addresses")
@click.option("--ipv6", is_flag=True, help="Give IPv6 addresses, too")
@click.option("--internal", is_flag=True, help="Nothing outside is reachable, nor reaches in")
@click.option("--attachable", is_flag=True, help="As Docker's; on one host every network is")
@click.option("--config-only", is_flag=True, help="Only keep the settings, for other networks to take")
@click.option("--config-from", default="", type=SETTINGS, help="Take the settings of a network made with --config-only")
@click.option("-o", "--opt", "options", multiple=True, type=NETWORK_OPTION, help="Option of the driver: NAME=VALUE")
@click.option("--label", "labels", multiple=True, help="Label: NAME=VALUE")
@click.option(
    "--ipam-driver",
    default="default",
    type=IPAM_DRIVER,
    help="IPAM driver; dhcp asks a server on the segment [default]",
)
@click.option("--ipam-opt", "ipam_options", multiple=True, help="Option of the IPAM driver: NAME=VALUE")
@click.argument("name")
@click.pass_obj
def create(session: Session, /, name: str, **o: Any) -> None:
    """Create a network; prints its id."""
    from netmodel.cli.pairs import pairs
    from netmodel.cli.pools import pools

    body = {
        "Name": name,
        "Driver": o["driver"],
        "Internal": o["internal"],
        "Attachable": o["attachable"],
        "ConfigOnly": o["config_only"],
        "ConfigFrom": {"Network": o["config_from"]},
        "EnableIPv4": o["ipv4"],
        "EnableIPv6": o["ipv6"],
        "Options": pairs(o["options"], "option"),
        "Labels": pairs(o["labels"], "label"),
        "IPAM": {
            "Driver": o["ipam_driver"],
            "Options": pairs(o["ipam_options"], "IPAM option"),
            "Config": pools(o["subnets"], o["gateways"], o["ranges"], pairs(o["auxiliary"], "auxiliary address")),
        },
    }
    made = session.client.post("/networks/create", body)
    if made["Warning"]:
        note(f"warning: {made['Warning']}")
    print(made["Id"])


@network.command(cls=Verb)
@click.option("-f", "--format", "template", help="Fill in a template: {{.IPAM.Config}}")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as without it")
@click.argument("networks", nargs=-1, required=True, type=NETWORK)
@click.pass_obj
def inspect(session: Session, networks: tuple[str, ...], template: str | None, as_json: bool) -> int:
    """Show all about networks: a JSON array."""
    from netmodel.cli.inspect import show_each

    return show_each(session, networks, ["network"], template)


@network.command(cls=Verb)
@click.option("--ip", default="", help="IPv4 address")
@click.option("--ip6", default="", help="IPv6 address")
@click.option("--link-local-ip", "link_local_ips", multiple=True, help="Further address, of the link alone")
@click.option("--alias", "aliases", multiple=True, help="Further name there")
@click.option("--mac-address", default="", help="MAC address")
@click.option("--interface", default="", help="The link's name in the container")
@click.option("--gw-priority", type=int, default=0, help="The highest one's gateway is the default route")
@click.option("--driver-opt", "options", multiple=True, type=ENDPOINT_OPTION, help="Option of the driver: NAME=VALUE")
@click.option(
    "--link", "links", multiple=True, type=CONTAINER, help="Another name for another container there: NAME[:ALIAS]"
)
@click.argument("network", type=NETWORK)
@click.argument("container", type=CONTAINER)
@click.pass_obj
def connect(session: Session, /, network: str, container: str, **o: Any) -> None:
    """Attach a container to a network; a running one gets the link at once."""
    from netmodel.cli.networks import endpoint_settings
    from netmodel.cli.pairs import pairs

    settings = endpoint_settings(
        ip=o["ip"],
        ip6=o["ip6"],
        link_local_ips=o["link_local_ips"],
        aliases=o["aliases"],
        mac=o["mac_address"],
        interface=o["interface"],
        gw_priority=o["gw_priority"],
        options=pairs(o["options"], "option"),
        links=o["links"],
    )
    session.client.post(f"/networks/{network}/connect", {"Container": container, "EndpointConfig": settings})


@network.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, help="Even if the container is in a bad way")
@click.argument("network", type=NETWORK)
@click.argument("container", type=CONTAINER)
@click.pass_obj
def disconnect(session: Session, network: str, container: str, force: bool) -> None:
    """Detach a container from a network."""
    session.client.post(f"/networks/{network}/disconnect", {"Container": container, "Force": force})


@network.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, help="Do not complain about those that are not there")
@click.argument("networks", nargs=-1, required=True, type=NETWORK)
@click.pass_obj
def rm(session: Session, networks: tuple[str, ...], force: bool) -> int:
    """Remove networks."""
    from netmodel.client import ApiError

    def act(name: str) -> None:
        try:
            session.client.delete(f"/networks/{name}")
        except ApiError as error:
            if not force or error.status != 404:
                raise
        print(name)

    return each(networks, act)


@network.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, hidden=True, help="Docker asks without it; we do not")
@click.option("--filter", "wanted", multiple=True, type=NETWORK_FILTER, help="Only those with NAME=VALUE")
@click.pass_obj
def prune(session: Session, force: bool, wanted: tuple[str, ...]) -> None:
    """Remove networks that no container is on; prints their names."""
    for name in session.client.post("/networks/prune", filters=filters(wanted))["NetworksDeleted"] or ():
        print(name)
