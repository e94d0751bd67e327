"""update: other limits and restart policies for containers, also while they run."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.life import restart_option, restart_policy
from netmodel.cli.limits import limit_options, limits_body
from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, each


@click.command(cls=Verb)
@restart_option
@limit_options
@click.argument("containers", nargs=-1, required=True, type=CONTAINER)
@click.pass_obj
def update(session: Session, /, containers: tuple[str, ...], restart: str, **options: Any) -> int:
    """Change limits and restart policies of containers; running ones have them at once."""
    body = limits_body(options)
    if restart:
        body["RestartPolicy"] = restart_policy(restart)
    if not body:
        raise click.UsageError("nothing to change is given")

    def act(name: str) -> None:
        session.client.post(f"/containers/{name}/update", body)
        print(name)

    return each(containers, act)
