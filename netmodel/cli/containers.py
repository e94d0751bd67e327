"""The plain verbs of a container's life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from netmodel.cli.attach import attach_options, join
from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, each, json_option, note, show_json
from netmodel.cli.words import PUBLISHED
from netmodel.client import ApiError

_names = click.argument("containers", nargs=-1, required=True, type=CONTAINER)


def _post_each(session: Session, containers: tuple[str, ...], verb: str, **parameters: Any) -> int:
    def act(name: str) -> None:
        session.client.post(f"/containers/{name}/{verb}", **parameters)
        print(name)

    return each(containers, act)


@click.command(cls=Verb)
@click.option("-a", "--attach", "attached", is_flag=True, help="Show what it prints, and exit with its code")
@click.option("-i", "--interactive", is_flag=True, help="Send it our input, too")
@attach_options
@_names
@click.pass_obj
def start(
    session: Session,
    containers: tuple[str, ...],
    attached: bool,
    interactive: bool,
    sig_proxy: bool,
    detach_keys: str,
) -> int:
    """Start containers."""
    if not attached and not interactive:
        return _post_each(session, containers, "start")
    if len(containers) > 1:
        raise click.UsageError("one container alone can be attached to")
    client = session.client
    return join(
        client,
        client.get(f"/containers/{containers[0]}/json"),
        interactive=interactive,
        sig_proxy=sig_proxy,
        detach_keys=detach_keys,
        begin=lambda: client.post(f"/containers/{containers[0]}/start"),
    )


def _with_time_limit(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("-s", "--signal", "signal_", default="", help="Instead of its own stop signal")(function)
    return click.option(
        "-t", "--time", "--timeout", "seconds", type=int, help="Seconds before it is killed; -1 waits for ever"
    )(function)


def _limit(seconds: int | None) -> str | None:
    return None if seconds is None else str(seconds)  # 0 is a limit, too


@click.command(cls=Verb)
@_with_time_limit
@_names
@click.pass_obj
def stop(session: Session, containers: tuple[str, ...], seconds: int | None, signal_: str) -> int:
    """Stop containers: ask first, then kill."""
    return _post_each(session, containers, "stop", t=_limit(seconds), signal=signal_ or None)


@click.command(cls=Verb)
@_with_time_limit
@_names
@click.pass_obj
def restart(session: Session, containers: tuple[str, ...], seconds: int | None, signal_: str) -> int:
    """Restart containers; links, addresses and MACs stay as they are."""
    return _post_each(session, containers, "restart", t=_limit(seconds), signal=signal_ or None)


@click.command(cls=Verb)
@click.option("-s", "--signal", "signal_", default="SIGKILL", help="Signal by name or number [SIGKILL]")
@_names
@click.pass_obj
def kill(session: Session, containers: tuple[str, ...], signal_: str) -> int:
    """Send a signal to containers."""
    return _post_each(session, containers, "kill", signal=signal_)


@click.command(cls=Verb)
@_names
@click.pass_obj
def pause(session: Session, containers: tuple[str, ...]) -> int:
    """Freeze containers."""
    return _post_each(session, containers, "pause")


@click.command(cls=Verb)
@_names
@click.pass_obj
def unpause(session: Session, containers: tuple[str, ...]) -> int:
    """Let frozen containers go on."""
    return _post_each(session, containers, "unpause")


@click.command(cls=Verb)
@click.argument("container", type=CONTAINER)
@click.argument("name")
@click.pass_obj
def rename(session: Session, container: str, name: str) -> None:
    """Give a container another name."""
    session.client.post(f"/containers/{container}/rename", name=name)


@click.command(cls=Verb)
@_names
@click.pass_obj
def wait(session: Session, containers: tuple[str, ...]) -> int:
    """Wait until containers end, and print their exit codes."""

    def act(name: str) -> None:
        print(session.client.post(f"/containers/{name}/wait")["StatusCode"], flush=True)

    return each(containers, act)


@click.command(cls=Verb)
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too")
@click.option("-l", "--link", is_flag=True, help="Remove a link, CONTAINER/ALIAS, instead of a container")
@_names
@click.pass_obj
def rm(session: Session, containers: tuple[str, ...], force: bool, volumes: bool, link: bool) -> int:
    """Remove containers."""

    def act(name: str) -> None:
        try:
            session.client.delete(f"/containers/{name.strip('/')}", force=force, v=volumes, link=link)
        except ApiError as error:
            if not force or error.status != 404:
                raise
            note(f"error: {error.message}")  # it is said, and as it was to be
            return
        print(name)

    return each(containers, act)


@click.command(cls=Verb)
@click.argument("container", type=CONTAINER)
@click.argument("port", required=False, type=PUBLISHED)
@json_option
@click.pass_obj
def port(session: Session, container: str, port: str | None, as_json: bool) -> None:
    """Show where a container's published ports are reached, and what keeps the world from them."""
    shown = session.client.get(f"/containers/{container}/json")
    wanted = port if port is None or "/" in port else f"{port}/tcp"
    if wanted is not None and not shown["NetworkSettings"]["Ports"].get(wanted):
        raise click.ClickException(f"container {container} does not publish port {wanted}")
    exposures = [one for one in shown["Netmodel"]["Exposure"] if wanted in (None, one["Port"])]
    if as_json:
        show_json(exposures)
        return
    from netmodel.cli.ports import ranges

    remarks: dict[tuple[str, str], list[int]] = {}
    for one in exposures:
        where = f"[{one['Address']}]" if ":" in one["Address"] else one["Address"]
        line = f"{where}:{one['Number']}"
        print(line if wanted else f"{one['Port']} -> {line}")
        for remark in _remarks(one):
            remarks.setdefault((where, remark), []).append(one["Number"])
    for (where, remark), numbers in remarks.items():
        note(remark.replace("{}", f"{where}:{ranges(numbers)}", 1))


def _remarks(exposure: dict[str, Any]) -> Iterator[str]:
    """What is to be known of a port; "{}" stands for it."""
    if exposure["State"] == "blocked":
        yield f"warning: {{}} is not reached from outside: blocked by {exposure['Why']}"
    elif exposure["State"] == "partly":
        yield f"warning: {{}} may be blocked, depending on who asks, by {exposure['Why']}"
    if exposure["Relayed"]:
        yield "{} is relayed: the container sees its gateway's address, not the client's"
