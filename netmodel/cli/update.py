"""update: other limits for containers, also while they run."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.limits import limit_options, limits_body
from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, each


@click.command(cls=Verb)
@limit_options
@click.argument("containers", nargs=-1, required=True, type=CONTAINER)
@click.pass_obj
def update(session: Session, /, containers: tuple[str, ...], **options: Any) -> int:
    """Change limits of containers; running ones have them at once."""
    body = limits_body(options)
    if not body:
        raise click.UsageError("nothing to change is given")

    def act(name: str) -> None:
        session.client.post(f"/containers/{name}/update", body)
        print(name)

    return each(containers, act)
