"""container: the verbs about containers by their long name, as Docker has them; and prune."""

from __future__ import annotations

import importlib
from typing import Any

import click

from netmodel.cli.filters import filters
from netmodel.cli.session import Session, Verb, json_option, show_json

# Name: module, and its name there.
_VERBS = {
    **{name: ("containers", name) for name in ("start", "stop", "restart", "kill", "pause", "unpause", "rename")},
    **{name: ("containers", name) for name in ("wait", "rm", "port")},
    "attach": ("attach", "attach"),
    "commit": ("images", "commit"),
    "cp": ("copy", "cp"),
    "create": ("run", "create"),
    "diff": ("top", "diff"),
    "exec": ("execute", "execute"),
    "logs": ("logs", "logs"),
    "export": ("images", "export"),
    "ls": ("ps", "ps"),
    "run": ("run", "run"),
    "stats": ("stats", "stats"),
    "top": ("top", "top"),
    "update": ("update", "update"),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_VERBS, *self.commands})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return self.commands.get(name)
        module, function = _VERBS[name]
        command: click.Command = getattr(importlib.import_module(f"netmodel.cli.{module}"), function)
        return command


@click.group(cls=_Verbs)
def container() -> None:
    """Manage containers; most verbs go without this word, too."""


@container.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, hidden=True, help="Nothing is asked anyway")
@click.option("--filter", "filters", multiple=True, help="Only those with NAME=VALUE: label, until")
@json_option
@click.pass_obj
def prune(session: Session, /, force: bool, **o: Any) -> None:
    """Remove all containers that do not run."""
    removed = session.client.post("/containers/prune", filters=filters(o["filters"]))["ContainersDeleted"] or ()
    if o["as_json"]:
        show_json(list(removed))
        return
    for one in removed:
        print(one)
