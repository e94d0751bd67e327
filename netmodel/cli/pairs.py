"""Options that are lists of NAME=VALUE."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click


def pairs(entries: Iterable[str], what: str) -> dict[str, str]:
    """Parse NAME=VALUE; a NAME alone has an empty value."""
    found = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name:
            raise click.UsageError(f"{what} {entry!r} has no name: write NAME=VALUE")
        found[name] = value
    return found


def environment(entries: Iterable[str], files: Iterable[str]) -> list[str]:
    """Gather -e and --env-file as Docker does: a NAME alone takes the value from our own environment."""
    gathered: dict[str, str] = {}
    for entry in [*lines(files, "environment"), *entries]:
        name, equals, value = entry.partition("=")
        if not name or name != name.strip():
            raise click.UsageError(f"environment variable {entry!r} has no name: write NAME=VALUE")
        if equals:
            gathered[name] = value
        elif name in os.environ:
            gathered[name] = os.environ[name]
    return [f"{name}={value}" for name, value in gathered.items()]


def lines(files: Iterable[str], what: str) -> Iterable[str]:
    """The lines of files that say something."""
    for path in files:
        try:
            with open(path, encoding="utf-8-sig") as file:
                found = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise click.UsageError(f"cannot read the {what} file {path}: {reason}") from error
        for line in found:
            if line.strip() and not line.lstrip().startswith("#"):
                yield line.lstrip()
