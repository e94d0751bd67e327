"""stats: what containers use."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, json_option, show_json
from netmodel.cli.table import show
from netmodel.cli.units import size
from netmodel.client import ApiError, Client

_HEADER = ("CONTAINER ID", "NAME", "CPU %", "MEMORY / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_PERIOD_S = 1.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


@click.command(cls=Verb)
@click.option("-a", "--all", "every", is_flag=True, help="Stopped ones, too")
@click.option("--no-stream", is_flag=True, help="Once, also on a terminal")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids")
@click.option("--format", "template", default="table", help="table, json, or a template: {{.Name}} {{.CPUPerc}}")
@json_option
@click.argument("containers", nargs=-1, type=CONTAINER)
@click.pass_obj
def stats(session: Session, /, containers: tuple[str, ...], no_stream: bool, as_json: bool, **o: Any) -> None:
    """Show what containers use (all that run, unless named): again and again on a terminal, else once."""
    client, every, whole, template = session.client, o["every"], o["no_trunc"], o["template"]
    if template == "table" and not as_json and not no_stream and sys.stdout.isatty():
        _live(client, containers, every, whole)
    found = _readings(client, containers, every, one_shot=False)
    if as_json or template == "json":
        show_json(found)
        return
    rows = [_fields(one, one["precpu_stats"], whole) for one in found]
    if template == "table":
        show(_HEADER, [tuple(row[name] for name in _COLUMNS) for row in rows])
        return
    from netmodel.cli.template import render

    for row in rows:
        print(render(template, row))


def _live(client: Client, containers: Sequence[str], every: bool, whole: bool) -> NoReturn:
    """A table that changes where it stands, until somebody interrupts; who comes and goes is seen."""
    before: dict[str, dict[str, Any]] = {}
    while True:
        found = _readings(client, containers, every, one_shot=True)
        rows = [_fields(one, before.get(one["id"], {}), whole) for one in found]
        print(_HOME_AND_CLEAR, end="")
        show(_HEADER, [tuple(row[name] for name in _COLUMNS) for row in rows])
        sys.stdout.flush()
        before = {one["id"]: one["cpu_stats"] for one in found}
        time.sleep(_PERIOD_S)


def _readings(client: Client, containers: Sequence[str], every: bool, *, one_shot: bool) -> list[dict[str, Any]]:
    """One of each container; where all were meant, one that has just gone is left out."""
    from concurrent.futures import ThreadPoolExecutor

    names = containers or tuple(one["Id"] for one in client.get("/containers/json", all=every))

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


def _fields(one: dict[str, Any], before: dict[str, Any], whole: bool) -> dict[str, str]:
    """By Docker's names for templates."""
    memory, links = one["memory_stats"], one["networks"].values()
    io = {entry["op"]: entry["value"] for entry in one["blkio_stats"]["io_service_bytes_recursive"] or ()}
    used, limit = memory.get("usage", 0), memory.get("limit", 0)
    return {
        "ID": one["id"] if whole else one["id"][:12],
        "Container": one["id"] if whole else one["id"][:12],
        "Name": one["name"][1:],
        "CPUPerc": f"{_cpu_percent(one['cpu_stats'], before):.2f}%",
        "MemUsage": f"{size(used)} / {size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{size(sum(link['rx_bytes'] for link in links))} / {size(sum(link['tx_bytes'] for link in links))}",
        "BlockIO": f"{size(io.get('read', 0))} / {size(io.get('write', 0))}",
        "PIDs": str(one["pids_stats"].get("current", 0)),
    }


def _cpu_percent(now: dict[str, Any], before: dict[str, Any]) -> float:
    """100 % is one processor, as Docker counts."""
    if not before or not before["system_cpu_usage"]:
        return 0.0
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    had = now["system_cpu_usage"] - before["system_cpu_usage"]
    return float(used / had * now["online_cpus"] * 100) if had > 0 else 0.0
