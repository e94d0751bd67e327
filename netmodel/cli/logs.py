"""logs."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb
from netmodel.cli.units import moment


@click.command(cls=Verb)
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends")
@click.option("-n", "--tail", default="all", help="The last N lines [all]")
@click.option("-t", "--timestamps", is_flag=True, help="Say when each line was printed")
@click.option("--details", is_flag=True, help="Show the labels, variables and tag that its log options name")
@click.option("--since", help="From this time on: RFC 3339, or a duration ago (5m)")
@click.option("--until", help="Before this time")
@click.argument("container", type=CONTAINER)
@click.pass_obj
def logs(session: Session, /, container: str, **o: Any) -> None:
    """Show what a container printed."""
    from netmodel.cli.terminal import show_frames

    if o["tail"] != "all" and not o["tail"].removeprefix("-").isdigit():
        raise click.UsageError(f"--tail {o['tail']!r} is neither a number nor all")
    with session.client.open(
        "GET",
        f"/containers/{container}/logs",
        stdout=True,
        stderr=True,
        follow=o["follow"],
        tail=o["tail"],
        timestamps=o["timestamps"],
        details=o["details"],
        since=moment(o["since"]),
        until=moment(o["until"]),
    ) as response:
        show_frames(response.body(), tty=response.headers.get("content-type", "").endswith("raw-stream"))
