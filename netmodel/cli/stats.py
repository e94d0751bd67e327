"""stats: one reading."""

from __future__ import annotations

from typing import Any

import click

from netmodel.cli.names import CONTAINER
from netmodel.cli.session import Session, Verb, json_option, show_json
from netmodel.cli.table import show
from netmodel.cli.units import size

_HEADER = ("NAME", "CPU %", "MEMORY / LIMIT", "NET I/O", "BLOCK I/O", "PIDS")


@click.command(cls=Verb)
@click.option("--no-stream", is_flag=True, hidden=True, help="Always so")
@json_option
@click.argument("containers", nargs=-1, type=CONTAINER)
@click.pass_obj
def stats(session: Session, containers: tuple[str, ...], no_stream: bool, as_json: bool) -> None:
    """Show what containers use (all that run, unless named), once."""
    from concurrent.futures import ThreadPoolExecutor

    names = containers or tuple(one["Id"] for one in session.client.get("/containers/json"))
    client = session.client
    with ThreadPoolExecutor(16) as pool:  # each reading takes half a second
        found = list(pool.map(lambda name: client.get(f"/containers/{name}/stats", stream="false"), names))
    if as_json:
        show_json(found)
    else:
        show(_HEADER, [_row(one) for one in found])


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    memory, links = one["memory_stats"], one["networks"].values()
    io = {entry["op"]: entry["value"] for entry in one["blkio_stats"]["io_service_bytes_recursive"] or ()}
    return (
        one["name"][1:],
        f"{_cpu_percent(one):.2f}%",
        f"{size(memory.get('usage', 0))} / {size(memory.get('limit', 0))}",
        f"{size(sum(link['rx_bytes'] for link in links))} / {size(sum(link['tx_bytes'] for link in links))}",
        f"{size(io.get('read', 0))} / {size(io.get('write', 0))}",
        str(one["pids_stats"].get("current", 0)),
    )


def _cpu_percent(one: dict[str, Any]) -> float:
    """100 % is one processor, as Docker counts."""
    now, before = one["cpu_stats"], one["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    had = now["system_cpu_usage"] - before["system_cpu_usage"]
    return used / had * now["online_cpus"] * 100 if had > 0 and before["system_cpu_usage"] else 0.0
