"""volume: create, ls, inspect, rm, prune."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.filters import filter_option, filters
from netmodel.cli.listing import listing_options, print_list
from netmodel.cli.names import VOLUME
from netmodel.cli.session import Session, Verb, each, note


@click.group()
def volume() -> None:
    """Create, show and remove volumes."""


@volume.command(cls=Verb)
@filter_option
@listing_options
@click.pass_obj
def ls(session: Session, /, **o: Any) -> None:
    """List volumes."""
    found = session.client.get("/volumes", filters=filters(o["filters"]))["Volumes"] or []
    print_list(found, o, ("DRIVER", "NAME"), lambda one, _: (one["Driver"], one["Name"]), lambda one, _: one, "Name")


@volume.command(cls=Verb)
@click.option("-d", "--driver", default="local", help="Driver [local]")
@click.option("-o", "--opt", "options", multiple=True, help="Option of the driver: NAME=VALUE")
@click.option("--label", "labels", multiple=True, help="Label: NAME=VALUE")
@click.argument("name", required=False, default="")
@click.pass_obj
def create(session: Session, name: str, driver: str, options: tuple[str, ...], labels: tuple[str, ...]) -> None:
    """Create a volume; prints its name."""
    from netmodel.cli.pairs import pairs

    body = {"Name": name, "Driver": driver, "DriverOpts": pairs(options, "option"), "Labels": pairs(labels, "label")}
    print(session.client.post("/volumes/create", body)["Name"])


@volume.command(cls=Verb)
@click.option("-f", "--format", "template", help="Fill in a template: {{.Mountpoint}}")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as without it")
@click.argument("volumes", nargs=-1, required=True, type=VOLUME)
@click.pass_obj
def inspect(session: Session, volumes: tuple[str, ...], template: str | None, as_json: bool) -> int:
    """Show all about volumes: a JSON array."""
    from netmodel.cli.inspect import show_each

    return show_each(session, volumes, ["volume"], template)


@volume.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, help="Do not complain about those that are not there")
@click.argument("volumes", nargs=-1, required=True, type=VOLUME)
@click.pass_obj
def rm(session: Session, volumes: tuple[str, ...], force: bool) -> int:
    """Remove volumes."""

    def act(name: str) -> None:
        session.client.delete(f"/volumes/{name}", force=force)
        print(name)

    return each(volumes, act)


@volume.command(cls=Verb)
@click.option("-a", "--all", "every", is_flag=True, help="Named ones that nobody uses, too")
@click.option("-f", "--force", is_flag=True, hidden=True, help="Docker asks without it; we do not")
@click.option("--filter", "wanted", multiple=True, help="Only those with NAME=VALUE: label, label!")
@click.pass_obj
def prune(session: Session, every: bool, force: bool, wanted: tuple[str, ...]) -> None:
    """Remove anonymous volumes that nobody uses; prints their names."""
    from netmodel.cli.units import size

    chosen = {**filters(wanted), **({"all": ["true"]} if every else {})}
    done = session.client.post("/volumes/prune", filters=chosen)
    for name in done["VolumesDeleted"] or ():
        print(name)
    note(f"freed: {size(done['SpaceReclaimed'])}")
