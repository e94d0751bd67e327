"""What commands share: which engine is meant, and the class they are made of."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netmodel.cli.flags import without_values
from netmodel.client import Client, NotRoot

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.root = ""
        self.host = ""

    @functools.cached_property
    def client(self) -> Client:
        """The engine; started when the first request finds none."""
        return self.connect(start=True)

    def connect(self, *, start: bool) -> Client:
        try:
            return Client(self.host, self.root, start=start)
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def root_and_host(*, hidden: bool) -> Callable[[F], F]:
    """The options that say which engine is meant; every command takes them, before or after its name."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value:
            setattr(ctx.find_object(Session), str(parameter.name), value)

    root = click.option(
        "--root",
        metavar="DIRECTORY",
        help="State root [$NETMODEL_ROOT, /var/lib/netmodel]",
        hidden=hidden,
        expose_value=False,
        callback=keep,
    )
    host = click.option(
        "-H",
        "--host",
        metavar="SOCKET",
        help="The engine's socket [$NETMODEL_HOST, /run/netmodel/engine.sock]",
        hidden=hidden,
        expose_value=False,
        callback=keep,
    )

    def decorate(function: F) -> F:
        return root(host(function))

    return decorate


class Verb(click.Command):
    """A command that asks the engine; says at once when it must be root and is not."""

    needs_root = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        root_and_host(hidden=True)(self)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, without_values(ctx, self.get_params(ctx), args))

    def invoke(self, ctx: click.Context) -> Any:
        if self.needs_root:
            require_root()
        return super().invoke(ctx)


class Local(Verb):
    """A command that asks nobody."""

    needs_root = False


def require_root() -> None:
    from os import geteuid

    if geteuid() != 0:
        raise NotRoot


def show_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def note(message: str) -> None:
    """Say something that is no result."""
    print(message, file=sys.stderr)


def each(refs: tuple[str, ...], act: Callable[[str], Any]) -> int:
    """Do the same to several things; go on after a failure, and say each.

    Returns:
        The exit code: the first failure's.
    """
    from netmodel.client import ClientError

    code = 0
    for ref in refs:
        try:
            act(ref)
        except ClientError as error:
            note(f"error: {error.message}")
            if error.hint:
                note(f"hint: {error.hint}")
            code = code or error.exit_code
    return code


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON")(function)
