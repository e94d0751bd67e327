"""up, down, plan: a topology file's project as a whole."""

from __future__ import annotations

import time

import click

from netmodel.cli.session import Session, Verb, json_option, note, show_json
from netmodel.client import ApiError

_file = click.argument("file", default=".", type=click.Path())
_name = click.option("-p", "--project-name", help="The project's name [name: in the file, else the file's name]")


@click.command(cls=Verb)
@_name
@click.option("-d", "--detach", is_flag=True, hidden=True, help="Always so")
@click.option(
    "--pull",
    type=click.Choice(["missing", "always", "never"]),
    help="When to fetch images from their registries [pull_policy: in the file, else missing]",
)
@json_option
@_file
@click.pass_obj
def up(session: Session, file: str, project_name: str | None, detach: bool, pull: str | None, as_json: bool) -> None:
    """Make a topology file's project stand; returns when all of it runs.

    Only what differs from the file is made, made anew or removed. FILE may be a directory with a compose.yaml.
    """
    from netmodel import codec
    from netmodel.cli.files import load
    from netmodel.cli.missing import fetch_for
    from netmodel.cli.progress import Progress

    project = load(file, project_name).project
    fetch_for(session.client, project, pull)
    began, progress = time.monotonic(), Progress()
    try:
        progress.follow(session.client.stream("POST", "/netmodel/projects/up", codec.dumps(project)))
    except ApiError:
        if any(step["action"] == "create" and step["state"] == "done" for step in progress.steps):
            note(f"project {project.name}: what this up had created is removed again")
        raise
    took = f"{time.monotonic() - began:.2f} s"
    changed = [step for step in progress.steps if step["action"] != "keep"]
    count = len(project.containers)
    stands = f"project {project.name} stands: {count} container{'' if count == 1 else 's'}"
    note(f"{stands}, {took}" if changed else f"{stands}, nothing to do, {took}")
    if as_json:
        show_json(progress.steps)


@click.command(cls=Verb)
@click.option("-v", "--volumes", is_flag=True, help="Remove its volumes, too")
@json_option
@click.argument("project", metavar="FILE|NAME", default=".")
@click.pass_obj
def down(session: Session, project: str, volumes: bool, as_json: bool) -> None:
    """Remove a project's containers and networks."""
    from netmodel.cli.files import project_of
    from netmodel.cli.progress import Progress

    name = project_of(project)
    began, progress = time.monotonic(), Progress()
    progress.follow(session.client.stream("DELETE", f"/netmodel/projects/{name}", volumes=volumes))
    note(f"project {name} is down, {time.monotonic() - began:.2f} s")
    if as_json:
        show_json(progress.steps)


@click.command(cls=Verb)
@_name
@json_option
@_file
@click.pass_obj
def plan(session: Session, file: str, project_name: str | None, as_json: bool) -> None:
    """Show what up would do, step by step; changes nothing."""
    from netmodel import codec
    from netmodel.cli.files import load
    from netmodel.cli.table import show

    project = load(file, project_name).project
    steps = session.client.post("/netmodel/projects/plan", codec.dumps(project))
    if as_json:
        show_json(steps)
        return
    show(("ACTION", "KIND", "NAME", "WHY"), [(s["action"], s["kind"], s["name"], s["reason"]) for s in steps])
    changes = sum(step["action"] != "keep" for step in steps)
    note(f"{changes} change{'' if changes == 1 else 's'}, {len(steps) - changes} kept" if steps else "nothing declared")
