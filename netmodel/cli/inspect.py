"""inspect."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.names import ANYTHING
from netmodel.cli.session import Session, Verb, note, show_json
from netmodel.client import ApiError, Client

_PATHS = {
    "container": "/containers/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
    "image": "/images/{}/json",
}


@click.command(cls=Verb)
@click.option("--type", "kind", type=click.Choice(list(_PATHS)), help="Look only among these")
@click.option("-f", "--format", "template", help="Fill in a template: {{.State.Status}}")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as without it")
@click.argument("names", nargs=-1, required=True, type=ANYTHING)
@click.pass_obj
def inspect(session: Session, names: tuple[str, ...], kind: str | None, template: str | None, as_json: bool) -> int:
    """Show all about containers, networks, volumes and images: a JSON array."""
    return show_each(session, names, [kind] if kind else list(_PATHS), template)


def show_each(session: Session, names: tuple[str, ...], kinds: list[str], template: str | None) -> int:
    """Print what is found, then say what is not."""
    found, missing = [], []
    for name in names:
        value = _look_up(session.client, name, kinds)
        if value is None:
            missing.append(name)
        else:
            found.append(value)
    if template:
        from netmodel.cli.template import render

        for value in found:
            print(render(template, value))
    else:
        show_json(found)
    for name in missing:
        note(f"error: no such {' or '.join(kinds) if len(kinds) < 3 else 'object'}: {name}")
    return 1 if missing else 0


def _look_up(client: Client, name: str, kinds: list[str]) -> Any:
    for kind in kinds:
        try:
            return client.get(_PATHS[kind].format(name))
        except ApiError as error:
            if error.status != 404:
                raise
    return None
