"""image: everything about images in one place; the most used of it are commands of their own, too."""

from __future__ import annotations

import click

from netmodel.cli import images
from netmodel.cli.names import IMAGE
from netmodel.cli.session import Session, Verb, json_option


@click.group()
def image() -> None:
    """Fetch, show, name, give away and remove images."""


for _name, _command in {
    "ls": images.images,
    "pull": images.pull,
    "push": images.push,
    "load": images.load,
    "save": images.save,
    "import": images.import_,
    "tag": images.tag,
    "history": images.history,
    "rm": images.rmi,
}.items():
    image.add_command(_command, _name)


@image.command(cls=Verb)
@json_option
@click.option("-f", "--format", "template", help="Template as Docker's, {{.Config.Cmd}}")
@click.argument("names", nargs=-1, required=True, type=IMAGE, metavar="IMAGE...")
@click.pass_obj
def inspect(session: Session, names: tuple[str, ...], template: str | None, as_json: bool) -> int:
    """Show all about images: a JSON array."""
    from netmodel.cli.inspect import show_each

    return show_each(session, names, ["image"], template)


@image.command(cls=Verb)
@click.option("-a", "--all", "every", is_flag=True, help="Those with a name that no container uses, too")
@click.option("--filter", "filters", multiple=True, help="Only those with NAME=VALUE: until, label, label!")
@click.option("-f", "--force", is_flag=True, hidden=True, help="Docker asks without it; we do not")
@click.pass_obj
def prune(session: Session, every: bool, filters: tuple[str, ...], force: bool) -> None:
    """Remove images that have no name and no container; prints what went."""
    from netmodel.cli.filters import filters as parsed
    from netmodel.cli.images import show_removed
    from netmodel.cli.session import note
    from netmodel.cli.units import size

    dangling = {"dangling": ["false" if every else "true"]}
    done = session.client.post("/images/prune", filters={**parsed(filters), **dangling})
    show_removed(done["ImagesDeleted"] or ())
    note(f"freed: {size(done['SpaceReclaimed'])}")
