"""Who one is to a registry: what is sent along, login and logout."""

from __future__ import annotations

import base64
import json
import sys

import click

from netmodel.cli.session import Local, Session, Verb, note

_OFFICIAL = "docker.io"


def header_for(image: str) -> str:
    """X-Registry-Auth for the registry an image is named after; "" if there is nothing to show.

    Raises:
        ClientError: The configuration is there and is wrong, or who keeps the credentials fails.
    """
    from netmodel.cli.dockerconfig import DockerConfig

    registry = _registry(image)
    found = DockerConfig().get(registry)
    if not found:
        return ""
    return base64.urlsafe_b64encode(json.dumps({"serveraddress": registry, **found}).encode()).decode()


@click.command(cls=Verb)
@click.option("-u", "--username", help="Name [asked for]")
@click.option("-p", "--password", help="Password; seen by everybody on this machine [asked for]")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input")
@click.argument("registry", default=_OFFICIAL)
@click.pass_obj
def login(session: Session, registry: str, username: str | None, password: str | None, password_stdin: bool) -> None:
    """Keep a name and a password for a registry, once it has taken them [docker.io].

    They go where docker keeps them: ~/.docker/config.json, or the program that this file names for it.
    """
    from netmodel.cli.dockerconfig import DockerConfig

    if password_stdin and (password is not None or username is None):
        raise click.UsageError("--password-stdin goes with --username, and without --password")
    server, config = _server(registry), DockerConfig()
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    if (username is None or password is None) and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; give --username and --password-stdin")
    username = click.prompt("Username", err=True) if username is None else username
    password = click.prompt("Password", hide_input=True, err=True) if password is None else password
    entry = {"username": username, "password": password}
    answer = session.client.post("/auth", {**entry, "serveraddress": server})
    if answer.get("IdentityToken"):
        entry = {"username": username, "identitytoken": answer["IdentityToken"]}
    kept = config.put(server, entry)
    note(f"{server} knows {username}; kept in {kept}")


@click.command(cls=Local)
@click.argument("registry", default=_OFFICIAL)
def logout(registry: str) -> None:
    """Forget the name and the password for a registry [docker.io]."""
    from netmodel.cli.dockerconfig import DockerConfig

    server = _server(registry)
    known = DockerConfig().forget(server)
    note(f"{server}: forgotten" if known else f"{server}: there was nothing to forget")


def _registry(image: str) -> str:
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else _OFFICIAL


def _server(text: str) -> str:
    """A registry as images name it, out of what one may write for it: https://registry.lan/v2/."""
    bare = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return _OFFICIAL if bare in ("index.docker.io", "registry-1.docker.io", "") else bare
