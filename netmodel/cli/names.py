"""Arguments that name things the engine knows; the shell can complete them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from netmodel.cli.session import Session
from netmodel.client import Client, ClientError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Name(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Args:
    known: Asks an engine for names, each with a word about it.
    paths: It may be the path of a file as well.
    """

    def __init__(self, name: str, known: Callable[[Client], Iterable[tuple[str, str]]], *, paths: bool = False) -> None:
        self.name = name
        self._known = known
        self._paths = paths

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        if self._paths and incomplete.startswith("/"):
            return [CompletionItem(incomplete, type="file")]
        session = ctx.find_object(Session) or Session()
        try:
            client = Client(session.host, session.root, start=False)
            found = [pair for pair in self._known(client) if pair[0].startswith(incomplete)]
        except (ClientError, ValueError, OSError):
            return []  # a shell's prompt is no place for errors
        return [CompletionItem(name, help=word) for name, word in found]


def _containers(client: Client) -> Iterator[tuple[str, str]]:
    for one in client.get("/containers/json", all=True):
        yield one["Names"][0][1:], one["Status"]


def _networks(client: Client) -> Iterator[tuple[str, str]]:
    for one in client.get("/networks"):
        yield one["Name"], one["Driver"]


def _settings(client: Client) -> Iterator[tuple[str, str]]:
    """Networks that are settings alone."""
    for one in client.get("/networks"):
        if one["ConfigOnly"]:
            yield one["Name"], "settings"


def _volumes(client: Client) -> Iterator[tuple[str, str]]:
    for one in client.get("/volumes")["Volumes"] or ():
        yield one["Name"], one["Driver"]


def _images(client: Client) -> Iterator[tuple[str, str]]:
    for one in client.get("/images/json"):
        for name in one["RepoTags"]:
            yield name, one["Id"].removeprefix("sha256:")[:12]


def _devices(client: Client) -> Iterator[tuple[str, str]]:
    for one in client.get("/info")["DiscoveredDevices"]:
        yield one["ID"], one["Source"]


def _things(client: Client) -> Iterator[tuple[str, str]]:
    yield from _containers(client)
    yield from _networks(client)
    yield from _volumes(client)


CONTAINER, NETWORK, VOLUME = Name("container", _containers), Name("network", _networks), Name("volume", _volumes)
SETTINGS = Name("network", _settings)
IMAGE = Name("image", _images)
DEVICE = Name("device", _devices, paths=True)
ANYTHING = Name("name", _things)
