"""run and create."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import click

from netmodel.cli.attach import attach_options, join
from netmodel.cli.options import container_options, create_body
from netmodel.cli.session import Session, Verb, note
from netmodel.client import ApiError, Client, ClientError

_ENGINE_FAILED = 125  # as Docker's: not the program's own code
_PROGRAM_FAILED = (126, 127)
_SETTINGS = {"allow_interspersed_args": False}  # what follows the image is the program's


_pull = click.option(
    "--pull",
    type=click.Choice(["missing", "always", "never"]),
    default="missing",
    help="When to fetch the image from its registry [missing]",
)


_cidfile = click.option("--cidfile", default="", type=click.Path(), help="Write its id to this file, which is new")


@click.command(cls=Verb, context_settings=_SETTINGS)
@_pull
@_cidfile
@container_options
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def create(session: Session, /, image: str, command: tuple[str, ...], pull: str, cidfile: str, **options: Any) -> None:
    """Create a container without starting it; prints its id."""
    name = options.pop("name")
    print(_create(session.client, name, create_body(image, command, options), pull, cidfile))


@click.command(cls=Verb, context_settings=_SETTINGS)
@click.option("-d", "--detach", is_flag=True, help="Print its id and leave it running")
@attach_options
@_pull
@_cidfile
@container_options
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run(
    session: Session,
    /,
    detach: bool,
    sig_proxy: bool,
    detach_keys: str,
    image: str,
    command: tuple[str, ...],
    pull: str,
    cidfile: str,
    **options: Any,
) -> int:
    """Create a container and start it; without -d show its output and exit with its code.

    Exit codes as Docker's: 125 when the engine failed, 126 and 127 when the command could not be run. A container
    that could not be started is removed again.
    """
    client, name = session.client, options.pop("name")
    body = create_body(image, command, options)
    try:
        container = _create(client, name, body, pull, cidfile)
        if detach:
            _start(client, container)
            print(container)
            return 0
        return join(
            client,
            {"Id": container, "Config": body, "HostConfig": body["HostConfig"]},
            interactive=True,
            sig_proxy=sig_proxy,
            detach_keys=detach_keys,
            begin=lambda: _start(client, container),
        )
    except ClientError as error:
        note(f"error: {error.message}")
        if error.hint:
            note(f"hint: {error.hint}")
        code = error.start_code if isinstance(error, ApiError) else 0
        return code if code in _PROGRAM_FAILED else _ENGINE_FAILED


def _create(client: Client, name: str, body: dict[str, Any], pull: str, cidfile: str) -> str:
    if not cidfile:
        return _made(client, name, body, pull)
    try:
        file = open(cidfile, "x", encoding="ascii")  # noqa: SIM115
    except OSError as error:
        raise click.UsageError(f"{cidfile} cannot be written: {error.strerror}") from error
    with file:
        try:
            container = _made(client, name, body, pull)
        except BaseException:
            os.unlink(cidfile)
            raise
        file.write(container)
    return container


def _made(client: Client, name: str, body: dict[str, Any], pull: str) -> str:
    from netmodel.cli.missing import fetch_if_missing, is_registry_name

    if pull == "always" and is_registry_name(body["Image"]):
        from netmodel.cli.images import fetch

        fetch(client, body["Image"])
    try:
        made = client.post("/containers/create", body, name=name)
    except ApiError as error:
        if error.status != 404 or pull == "never" or not fetch_if_missing(client, body["Image"], error.hint):
            raise
        made = client.post("/containers/create", body, name=name)
    for warning in made["Warnings"] or ():
        note(f"warning: {warning}")
    return str(made["Id"])


def _start(client: Client, container: str) -> None:
    """Start what we have just created; if that is refused, it is as if nobody had asked."""
    try:
        client.post(f"/containers/{container}/start")
    except ApiError:
        # Docker leaves it there, and who corrects the command is told that the name is taken.
        with suppress(ClientError):
            client.delete(f"/containers/{container}", v=True)
        raise
