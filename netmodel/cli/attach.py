"""attach, and what run and start share with it: being where a container's first process prints and reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, note
from netmodel.client import Client, ClientError

F = TypeVar("F", bound=Callable[..., Any])


def attach_options(function: F) -> F:
    for option in (
        click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass our signals on to it [yes]"),
        click.option("--detach-keys", default="ctrl-p,ctrl-q", help="Keys that leave it running [ctrl-p,ctrl-q]"),
    ):
        function = option(function)
    return function


@click.command(cls=Verb)
@attach_options
@click.option("--no-stdin", is_flag=True, help="Do not send it our input")
@click.argument("container", type=CONTAINER)
@click.pass_obj
def attach(session: Session, container: str, no_stdin: bool, sig_proxy: bool, detach_keys: str) -> int:
    """Show what a running container prints, and send it our input; exits with its code."""
    seen = session.client.get(f"/containers/{container}/json")
    if not seen["State"]["Running"]:
        raise ClientError(f"container {container} does not run", f"start it: netmodel start {container}")
    return join(session.client, seen, interactive=not no_stdin, sig_proxy=sig_proxy, detach_keys=detach_keys)


def join(
    client: Client,
    seen: dict[str, Any],
    *,
    interactive: bool,
    sig_proxy: bool = True,
    detach_keys: str = "",
    begin: Callable[[], Any] = lambda: None,
) -> int:
    """Stay until the container ends; its exit code, or 0 for who has detached.

    Args:
        seen: What inspect tells of it.
        begin: Starts it, once not a byte of its output can be missed any more.
    """
    from netmodel.cli.terminal import forwarded_signals, talk

    container, tty = seen["Id"], seen["Config"]["Tty"]
    wants_input = interactive and seen["Config"]["OpenStdin"]
    # Then the keys that make signals are sent as keys.
    raw = tty and wants_input and sys.stdin.isatty()
    connection, arrived = client.hijack(
        f"/containers/{container}/attach", stream=True, stdout=True, stderr=True, stdin=wants_input
    )
    condition = "removed" if seen["HostConfig"]["AutoRemove"] else "next-exit"
    wait = client.open("POST", f"/containers/{container}/wait", condition=condition)
    with connection, wait, forwarded_signals(client, container, enabled=sig_proxy and not raw):
        begin()
        detached = talk(
            connection,
            arrived,
            tty=tty,
            interactive=wants_input,
            resize=lambda rows, columns: client.post(f"/containers/{container}/resize", h=rows, w=columns),
            detach_keys=detach_keys,
        )
        if detached:
            note(f"detached from {container[:12]}, which runs on")
            return 0
        answer = json.loads(wait.read())
    if message := (answer.get("Error") or {}).get("Message"):
        raise ClientError(message)
    return int(answer["StatusCode"])
