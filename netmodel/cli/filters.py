"""--filter NAME=VALUE, as the API wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def filter_option(function: F) -> F:
    return click.option("-f", "--filter", "filters", multiple=True, help="Only those with NAME=VALUE")(function)


def filters(texts: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"filter {text!r} is not of the form NAME=VALUE")
        found.setdefault(name, []).append(value)
    return found
