"""exec."""

from __future__ import annotations

import sys
from typing import Any

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.pairs import environment
from netmodel.cli.session import Session, Verb, note
from netmodel.client import ApiError


@click.command("exec", cls=Verb, context_settings={"allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Leave it running in the background")
@click.option("-i", "--interactive", is_flag=True, help="Send it our input")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal")
@click.option("-e", "--env", multiple=True, help="Environment variable: NAME=VALUE")
@click.option("--env-file", multiple=True, help="File of environment variables")
@click.option("-w", "--workdir", default="", help="Working directory")
@click.option("-u", "--user", default="", help="User: name or id, and [:group]")
@click.option("--privileged", is_flag=True, help="All capabilities")
@click.option("--detach-keys", default="ctrl-p,ctrl-q", help="Keys that leave it running [ctrl-p,ctrl-q]")
@click.argument("container", type=CONTAINER)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def execute(session: Session, /, container: str, command: tuple[str, ...], **o: Any) -> int:
    """Run a program in a running container; exits with its code."""
    from netmodel.cli.terminal import console_size, talk

    client, tty, interactive = session.client, o["tty"], o["interactive"]
    if tty and interactive and not sys.stdin.isatty():
        raise click.UsageError("our input is not a terminal: leave -t out")
    body = {
        "Cmd": list(command),
        "Env": environment(o["env"], o["env_file"]),
        "WorkingDir": o["workdir"],
        "User": o["user"],
        "Privileged": o["privileged"],
        "Tty": tty,
        "AttachStdin": interactive,
        "AttachStdout": not o["detach"],
        "AttachStderr": not o["detach"],
    }
    exec_id = client.post(f"/containers/{container}/exec", body)["Id"]
    start = {"Detach": o["detach"], "Tty": tty, "ConsoleSize": console_size() if tty else None}
    try:
        if o["detach"]:
            client.post(f"/exec/{exec_id}/start", start)
            return 0
        connection, arrived = client.hijack(f"/exec/{exec_id}/start", start)
    except ApiError as error:
        if not error.start_code:
            raise
        note(f"error: {error.message}")
        if error.hint:
            note(f"hint: {error.hint}")
        return error.start_code if error.start_code == 127 else 126  # as Docker's
    with connection:
        detached = talk(
            connection,
            arrived,
            tty=tty,
            interactive=interactive,
            resize=lambda rows, columns: client.post(f"/exec/{exec_id}/resize", h=rows, w=columns),
            detach_keys=o["detach_keys"],
        )
    if detached:
        note(f"detached from {command[0]}, which runs on")
        return 0
    # Another engine would know nothing of it, so none is started for this.
    return int(session.connect(start=False).get(f"/exec/{exec_id}/json")["ExitCode"])
