"""stats: what containers use."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, json_option, show_json
from netmodel.cli.table import show
from netmodel.cli.units import size
from netmodel.client import ApiError, Client

_HEADER = ("NAME", "CPU %", "MEMORY / LIMIT", "NET I/O", "BLOCK I/O", "PIDS")
_PERIOD_S = 1.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


@click.command(cls=Verb)
@click.option("--no-stream", is_flag=True, help="Once, also on a terminal")
@json_option
@click.argument("containers", nargs=-1, type=CONTAINER)
@click.pass_obj
def stats(session: Session, containers: tuple[str, ...], no_stream: bool, as_json: bool) -> None:
    """Show what containers use (all that run, unless named): again and again on a terminal, else once."""
    client = session.client
    if as_json:
        show_json(_readings(client, containers, one_shot=False))
    elif no_stream or not sys.stdout.isatty():
        show(_HEADER, [_row(one, one["precpu_stats"]) for one in _readings(client, containers, one_shot=False)])
    else:
        _live(client, containers)


def _live(client: Client, containers: Sequence[str]) -> None:
    """A table that changes where it stands, until somebody interrupts; who comes and goes is seen."""
    before: dict[str, dict[str, Any]] = {}
    while True:
        found = _readings(client, containers, one_shot=True)
        print(_HOME_AND_CLEAR, end="")
        show(_HEADER, [_row(one, before.get(one["id"], {})) for one in found])
        sys.stdout.flush()
        before = {one["id"]: one["cpu_stats"] for one in found}
        time.sleep(_PERIOD_S)


def _readings(client: Client, containers: Sequence[str], *, one_shot: bool) -> list[dict[str, Any]]:
    """One of each container; where all were meant, one that has just gone is left out."""
    from concurrent.futures import ThreadPoolExecutor

    names = containers or tuple(one["Id"] for one in client.get("/containers/json"))

    def read(name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = client.get(
                f"/containers/{name}/stats", stream="false", **{"one-shot": "true" if one_shot else "false"}
            )
        except ApiError as error:
            if containers or error.status not in (404, 409):
                raise
            return None
        return found

    with ThreadPoolExecutor(16) as pool:  # a reading that is not one-shot takes half a second
        return [one for one in pool.map(read, names) if one is not None]


def _row(one: dict[str, Any], before: dict[str, Any]) -> tuple[str, ...]:
    memory, links = one["memory_stats"], one["networks"].values()
    io = {entry["op"]: entry["value"] for entry in one["blkio_stats"]["io_service_bytes_recursive"] or ()}
    return (
        one["name"][1:],
        f"{_cpu_percent(one['cpu_stats'], before):.2f}%",
        f"{size(memory.get('usage', 0))} / {size(memory.get('limit', 0))}",
        f"{size(sum(link['rx_bytes'] for link in links))} / {size(sum(link['tx_bytes'] for link in links))}",
        f"{size(io.get('read', 0))} / {size(io.get('write', 0))}",
        str(one["pids_stats"].get("current", 0)),
    )


def _cpu_percent(now: dict[str, Any], before: dict[str, Any]) -> float:
    """100 % is one processor, as Docker counts."""
    if not before or not before["system_cpu_usage"]:
        return 0.0
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    had = now["system_cpu_usage"] - before["system_cpu_usage"]
    return float(used / had * now["online_cpus"] * 100) if had > 0 else 0.0
