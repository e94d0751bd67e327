"""How every listing is printed: as a table, as names alone, as JSON or through a template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from netmodel.cli.session import json_option, show_json
from netmodel.cli.table import show

F = TypeVar("F", bound=Callable[..., Any])


def listing_options(function: F) -> F:
    for option in (
        click.option("--format", "template", default="table", help="table, json, or a template: {{.Name}}"),
        json_option,
        click.option("--no-trunc", is_flag=True, help="Do not shorten ids"),
        click.option("-q", "--quiet", is_flag=True, help="Ids or names alone"),
    ):
        function = option(function)
    return function


def print_list(
    found: Sequence[dict[str, Any]],
    o: dict[str, Any],
    header: Sequence[str],
    row: Callable[[dict[str, Any], bool], Sequence[str]],
    template_fields: Callable[[dict[str, Any], bool], dict[str, Any]],
    key: str = "Id",
) -> None:
    """Args:
    row: Makes a table's line of one thing; the flag says to leave ids whole.
    template_fields: What a template sees: Docker's own names.
    """
    template, whole = o["template"], o["no_trunc"]
    if o["as_json"] or template == "json":
        show_json(list(found))
    elif o["quiet"]:
        for one in found:
            print(one[key] if whole or key != "Id" else one[key][:12])
    elif template == "table":
        show(header, [row(one, whole) for one in found])
    else:
        from netmodel.cli.template import render

        for one in found:
            print(render(template, template_fields(one, whole)))
