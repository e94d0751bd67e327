"""events."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from netmodel.cli.filters import filter_option
from netmodel.cli.filters import filters as parse
from netmodel.cli.session import Session, Verb, json_option
from netmodel.cli.units import moment


@click.command(cls=Verb)
@click.option("--since", help="From this time on: RFC 3339, or a duration ago (5m)")
@click.option("--until", help="Until this time")
@filter_option
@click.option("--format", "template", default="", help="json, or a template: {{.Action}} {{.Actor.Attributes.name}}")
@json_option
@click.pass_obj
def events(session: Session, /, since: str | None, until: str | None, filters: tuple[str, ...], **o: Any) -> None:
    """Show what happens, as it happens; JSON is one object a line."""
    from netmodel.cli.template import render

    wanted, template = parse(filters), o["template"]
    for event in session.client.stream("GET", "/events", since=moment(since), until=moment(until), filters=wanted):
        if o["as_json"] or template == "json":
            line = json.dumps(event, ensure_ascii=False)
        else:
            line = render(template, event) if template else _line(event)
        print(line, flush=True)


def _line(event: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(event["timeNano"] / 1e9).astimezone().isoformat(timespec="milliseconds")
    attributes = event["Actor"]["Attributes"]
    told = ", ".join(f"{name}={value}" for name, value in attributes.items())
    return f"{at} {event['Type']} {event['Action']} {event['Actor']['ID'][:12]} ({told})"
