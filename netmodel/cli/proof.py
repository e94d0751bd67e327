"""check and matrix: packets as proof, sent by this process from inside the sandboxes."""

from __future__ import annotations

import sys
from typing import Any

import click

from netmodel.cli.session import Session, Verb, json_option, note, show_json
from netmodel.client import ApiError


@click.command(cls=Verb)
@json_option
@click.argument("project", metavar="FILE|NAME", default=".")
@click.pass_obj
def check(session: Session, project: str, as_json: bool) -> int:
    """Prove a topology's x-expect with packets.

    Exit 0: all hold; 1: some do not; 2: none ran. With FILE, what the file says now is proven.
    """
    from netmodel.cli.files import is_file, load

    loaded = load(project).project if is_file(project) else None
    view = _view(session, loaded.name if loaded else project)
    if view is None:
        return 2
    from netmodel import probe  # scapy: only once there is something to prove

    results = probe.check(view, loaded.expectations if loaded else None)
    if as_json:
        show_json(probe.to_json(results))
    elif results:
        probe.render_table(results, sys.stdout)
    else:
        note(f"project {view['name']} declares no x-expect")
    return probe.exit_code(results)


@click.command(cls=Verb)
@click.option("--tcp", "port", type=click.IntRange(1, 65535), default=None, help="Try this TCP port, not ICMP echo")
@click.option("-4", "family", flag_value="4", help="Over IPv4 only")
@click.option("-6", "family", flag_value="6", help="Over IPv6 only")
@click.option("--no-host", is_flag=True, help="Leave the machine itself out")
@json_option
@click.argument("project", metavar="FILE|NAME", default=".")
@click.pass_obj
def matrix(session: Session, project: str, port: int | None, family: str | None, no_host: bool, as_json: bool) -> int:
    """Show who reaches whom in a project."""
    from netmodel.cli.files import project_of

    view = _view(session, project_of(project))
    if view is None:
        return 2
    from netmodel import probe

    versions: dict[str | None, Any] = {None: 0, "4": 4, "6": 6}
    found = probe.matrix(view, via="tcp" if port else "icmp", port=port or 0, family=versions[family], host=not no_host)
    if as_json:
        show_json(probe.matrix_json(found))
    else:
        probe.matrix_table(found, sys.stdout)
    return 0


def _view(session: Session, name: str) -> Any:
    """The project as it stands; None when it does not, which is said."""
    try:
        return session.client.get(f"/netmodel/projects/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        note(f"error: {error.message}")
        note(f"hint: {error.hint or 'bring it up first: netmodel up FILE'}")
        return None
