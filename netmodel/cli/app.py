"""The commands by name, the options all have, and the one place where errors become text and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from netmodel import __version__
from netmodel.cli.session import Session, Verb, root_and_host
from netmodel.client import ClientError

# Name: module below netmodel.cli, and what `netmodel --help` says. Nothing is imported to say it.
COMMANDS = {
    "run": ("run", "Create a container and start it"),
    "create": ("run", "Create a container without starting it"),
    "start": ("containers", "Start containers"),
    "stop": ("containers", "Stop containers: ask first, then kill"),
    "restart": ("containers", "Restart containers; their network stays as it is"),
    "kill": ("containers", "Send a signal to containers"),
    "pause": ("containers", "Freeze containers"),
    "unpause": ("containers", "Let frozen containers go on"),
    "update": ("update", "Change limits of containers, also while they run"),
    "rename": ("containers", "Give a container another name"),
    "wait": ("containers", "Wait until containers end; print their exit codes"),
    "rm": ("containers", "Remove containers"),
    "port": ("containers", "Show a container's published ports"),
    "ps": ("ps", "List containers"),
    "attach": ("attach", "Be where a running container prints and reads"),
    "container": ("container", "Manage containers: prune, and all the verbs above and below"),
    "top": ("top", "Show the processes of a container"),
    "cp": ("copy", "Copy files between a container and here"),
    "diff": ("top", "Show what a container changed of its image"),
    "stats": ("stats", "Show what containers use, as it changes"),
    "exec": ("execute", "Run a program in a running container"),
    "logs": ("logs", "Show what a container printed"),
    "inspect": ("inspect", "Show all about containers, networks and volumes"),
    "events": ("events", "Show what happens, as it happens"),
    "network": ("network", "Create, show, join and remove networks"),
    "volume": ("volume", "Create, show and remove volumes"),
    "image": ("image", "Fetch, show, name, give away and remove images"),
    "images": ("images", "List images"),
    "pull": ("images", "Fetch images from registries"),
    "push": ("images", "Give images to registries"),
    "login": ("credentials", "Keep a name and a password for a registry"),
    "logout": ("credentials", "Forget them again"),
    "load": ("images", "Take in images from an archive"),
    "save": ("images", "Write images to an archive"),
    "import": ("images", "Make an image of the archive of a root file system"),
    "export": ("images", "Write a container's file system to an archive"),
    "tag": ("images", "Give an image a further name"),
    "commit": ("images", "Make an image of what a container has written"),
    "history": ("images", "Show what was done to make an image"),
    "rmi": ("images", "Remove images, or their names"),
    "up": ("project", "Make a topology file's project stand"),
    "down": ("project", "Remove a project's containers and networks"),
    "plan": ("project", "Show what up would do"),
    "check": ("proof", "Prove a topology's x-expect with packets"),
    "matrix": ("proof", "Show who reaches whom, proven with packets"),
    "engine": ("engine", "Run, start and stop the engine, and ask for its state"),
    "doctor": ("doctor", "Show what this machine can do, and what is missing"),
    "completion": ("completion", "Print the script that completes commands in your shell"),
}

# Commands whose names a Python function cannot have.
_FUNCTIONS = {"exec": "execute", "import": "import_"}


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"netmodel.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, _FUNCTIONS.get(name, name))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"no such command: {args[0]}{_did_you_mean(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.command(
    cls=Lazy, context_settings={"help_option_names": ["--help"], "max_content_width": 100}, no_args_is_help=True
)
@root_and_host(hidden=False)
@click.version_option(__version__, message="netmodel %(version)s")
def netmodel() -> None:
    """A container engine whose centre is the network."""


def run(argv: Sequence[str] | None) -> int:
    try:
        code: Any = netmodel.main(
            args=None if argv is None else list(argv), prog_name="netmodel", standalone_mode=False, obj=Session()
        )
    except click.UsageError as error:
        return _fail(error.format_message(), _usage(error), 2)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ClientError as error:
        return _fail(error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # Whoever read our output has had enough; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _fail(message: str, hint: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code


def _usage(error: click.UsageError) -> str:
    if error.ctx is None:
        return ""
    return f"see {error.ctx.command_path} --help"


def _did_you_mean(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, 1)
    return f" (did you mean {close[0]}?)" if close else ""


__all__ = ["Verb", "netmodel", "run"]
