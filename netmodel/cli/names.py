"""Arguments that name things the engine knows; the shell can complete them."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from netmodel.cli.session import Session
from netmodel.client import Client, ClientError


def _known(ctx: click.Context, path: str, **parameters: bool) -> Any:
    session = ctx.find_object(Session) or Session()
    try:
        return Client(session.host, session.root, start=False).get(path, **parameters)
    except (ClientError, ValueError, OSError):
        return None  # a shell's prompt is no place for errors


class ContainerName(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    name = "container"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = _known(ctx, "/containers/json", all=True) or []
        return [
            CompletionItem(one["Names"][0][1:], help=one["Status"])
            for one in found
            if one["Names"][0][1:].startswith(incomplete)
        ]


class NetworkName(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    name = "network"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = _known(ctx, "/networks") or []
        return [CompletionItem(one["Name"], help=one["Driver"]) for one in found if one["Name"].startswith(incomplete)]


class VolumeName(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    name = "volume"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = (_known(ctx, "/volumes") or {}).get("Volumes") or []
        return [CompletionItem(one["Name"]) for one in found if one["Name"].startswith(incomplete)]


CONTAINER, NETWORK, VOLUME = ContainerName(), NetworkName(), VolumeName()
