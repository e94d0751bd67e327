"""Arguments that are one of a few words, or NAME=VALUE with such a name: the shell completes them, any are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Known = Callable[[click.Context], Iterable[str]]


class Words(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.5
    """Args:
    known: What there is, found out only when a shell asks.
    """

    def __init__(self, name: str, known: Known) -> None:
        self.name = name
        self._known = known

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in sorted(self._known(ctx)) if word.startswith(incomplete)]


def _drivers(_: click.Context) -> Iterable[str]:
    return ("bridge", "ipvlan", "macvlan", "p2p")


def _ipam_drivers(_: click.Context) -> Iterable[str]:
    return ("default", "dhcp", "null")


def _network_options(ctx: click.Context) -> Iterable[str]:
    """Those of the driver that was named."""
    from drivers import bridge_options, ipvlan, macvlan, p2p
    from netmodel.engine.link_options import ADVERTISE_MS, ADVERTISE_NMSGS

    of_driver = {"ipvlan": ipvlan.KNOWN, "macvlan": macvlan.KNOWN, "p2p": p2p.KNOWN}
    known = of_driver.get(ctx.params.get("driver") or "bridge", bridge_options.KNOWN)
    return [f"{key}=" for key in (*known, ADVERTISE_NMSGS, ADVERTISE_MS)]


def _endpoint_options(_: click.Context) -> Iterable[str]:
    from drivers import endpoint_options
    from netmodel.engine.link_options import IFNAME, SYSCTLS

    return [f"{key}=" for key in (*endpoint_options.KNOWN, IFNAME, SYSCTLS)]


def _network_filters(_: click.Context) -> Iterable[str]:
    fixed = {"dangling": ("true", "false"), "driver": ("bridge", "host", "ipvlan", "macvlan", "null", "p2p")}
    fixed |= {"scope": ("local",), "type": ("builtin", "custom")}
    whole = [f"{name}={value}" for name, values in fixed.items() for value in values]
    return [*whole, *(f"{name}=" for name in ("id", "label", "label!", "name", "until"))]


def _published(ctx: click.Context) -> Iterable[str]:
    from netmodel.cli.session import Session
    from netmodel.client import Client, ClientError

    session = ctx.find_object(Session) or Session()
    try:
        client = Client(session.host, session.root, start=False)
        shown = client.get(f"/containers/{ctx.params['container']}/json")
    except (ClientError, KeyError, ValueError, OSError):
        return []  # a shell's prompt is no place for errors
    ports: list[str] = [key for key, bindings in shown["NetworkSettings"]["Ports"].items() if bindings]
    return ports


DRIVER, IPAM_DRIVER = Words("driver", _drivers), Words("driver", _ipam_drivers)
NETWORK_OPTION, ENDPOINT_OPTION = Words("option", _network_options), Words("option", _endpoint_options)
NETWORK_FILTER, PUBLISHED = Words("filter", _network_filters), Words("port", _published)
