"""image: ls."""

from __future__ import annotations

import click

from netmodel.cli.session import Session, Verb, json_option, show_json
from netmodel.cli.table import show


@click.group()
def image() -> None:
    """Show images."""


@image.command(cls=Verb)
@json_option
@click.pass_obj
def ls(session: Session, as_json: bool) -> None:
    """List the images that have a name; a directory or a tar archive is one by its path."""
    found = session.client.get("/images/json")
    if as_json:
        show_json(found)
    else:
        show(("IMAGE", "ID"), [(one["RepoTags"][0], one["Id"].removeprefix("sha256:")[:12]) for one in found])
