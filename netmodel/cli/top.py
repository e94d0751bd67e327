"""top and diff: what runs in a container, and what it has changed."""

from __future__ import annotations

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, json_option, show_json
from netmodel.cli.table import show

_LETTERS = "CAD"


@click.command(cls=Verb, context_settings={"ignore_unknown_options": True})
@json_option
@click.argument("container", type=CONTAINER)
@click.argument("ps_options", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def top(session: Session, container: str, ps_options: tuple[str, ...], as_json: bool) -> None:
    """Show the processes of a container; options are those of ps."""
    found = session.client.get(f"/containers/{container}/top", ps_args=" ".join(ps_options))
    if as_json:
        show_json([dict(zip(found["Titles"], row, strict=True)) for row in found["Processes"]])
    else:
        show(found["Titles"], found["Processes"])


@click.command(cls=Verb)
@json_option
@click.argument("container", type=CONTAINER)
@click.pass_obj
def diff(session: Session, container: str, as_json: bool) -> None:
    """Show what a container has changed of its image: C changed, A added, D deleted."""
    found = session.client.get(f"/containers/{container}/changes") or []
    if as_json:
        show_json(found)
        return
    for change in found:
        print(_LETTERS[change["Kind"]], change["Path"])
