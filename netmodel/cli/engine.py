"""engine: run, start, stop, status, df."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import click

from netmodel.cli.session import Session, Verb, json_option, note, show_json
from netmodel.cli.settings import setting_options, settings_said
from netmodel.client import EngineUnavailable

_STOP_S = 30


@click.group()
def engine() -> None:
    """Run, start and stop the engine, and ask for its state.

    Every other command starts it when none answers. Containers run on when it stops.
    """


@engine.command(cls=Verb)
@click.option(
    "--default-address-pool",
    "pools",
    multiple=True,
    metavar="base=PREFIX,size=BITS",
    help="Where automatic subnets come from; instead of those in engine.json under the root",
)
@setting_options
@click.pass_obj
def run(session: Session, /, pools: tuple[str, ...], **o: Any) -> int:
    """Be the engine, in the foreground, until SIGTERM or Ctrl-C.

    Each option that is a setting goes before what engine.json under the root says of it.
    """
    import gc
    import sys

    gc.disable()  # while it loads, as in netmodel.daemon.__main__
    from netmodel.daemon import process

    client = session.connect(start=False)
    process.set_up_log()

    def tell(message: str) -> None:
        if message == "ready":
            print(f"ready: root {client.root}, socket {client.host}, pid {os.getpid()}", flush=True)
        else:
            print(message, file=sys.stderr)

    return process.run(client.root, client.host, tell, pools, settings_said(o))


@engine.command(cls=Verb)
@click.pass_obj
def start(session: Session) -> None:
    """Start it in the background; one that runs already is left alone."""
    from netmodel.client.start import start_engine

    client = session.connect(start=False)
    started = start_engine(client.root, client.host)
    status = client.get("/netmodel/status")
    note(f"engine {'started' if started else 'runs already'}: process {status['pid']}, socket {status['host']}")


@engine.command(cls=Verb)
@click.pass_obj
def stop(session: Session) -> int:
    """Stop it; containers run on."""
    import select

    client = session.connect(start=False)
    try:
        pid = client.get("/netmodel/status")["pid"]
        process = os.pidfd_open(pid)
        client.post("/netmodel/shutdown")
    except EngineUnavailable:
        note(f"no engine is running at {client.host}")
        return 0
    except ProcessLookupError:
        return 0
    with open(process, "rb", closefd=True) as gone:
        readable, _, _ = select.select([gone], [], [], _STOP_S)
    if not readable:
        note(f"error: the engine (process {pid}) has not ended after {_STOP_S} s")
        return 1
    note("engine stopped; containers run on")
    return 0


@engine.command(cls=Verb)
@json_option
@click.pass_obj
def status(session: Session, as_json: bool) -> int:
    """Show the engine that answers; exits 1 when none does."""
    client = session.connect(start=False)
    found = client.get("/netmodel/status")
    if as_json:
        show_json(found)
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):<12} {_shown(value)}")
    return 0


@engine.command(cls=Verb)
@json_option
@click.pass_obj
def df(session: Session, as_json: bool) -> None:
    """Show what images, containers and volumes take on the disk, and what of it nobody uses."""
    from netmodel.cli.table import show
    from netmodel.cli.units import size

    found = session.client.get("/system/df")
    if as_json:
        show_json(found)
        return
    images, containers, volumes = found["Images"] or (), found["Containers"] or (), found["Volumes"] or ()
    idle = [one for one in containers if one["State"] not in ("running", "paused", "restarting")]
    unused = [one for one in volumes if not one["UsageData"]["RefCount"]]
    sizes = [max(one["UsageData"]["Size"], 0) for one in volumes]
    free = sum(max(one["UsageData"]["Size"], 0) for one in unused)
    used = sum(one["Containers"] > 0 for one in images)
    rows = (
        ("images", len(images), used, found["LayersSize"], found["Netmodel"]["Reclaimable"]),
        ("containers", len(containers), len(containers) - len(idle), _sum(containers), _sum(idle)),
        ("volumes", len(volumes), len(volumes) - len(unused), sum(sizes), free),
    )
    show(
        ("WHAT", "TOTAL", "IN USE", "SIZE", "RECLAIMABLE"),
        [(what, str(total), str(active), size(whole), size(idle_)) for what, total, active, whole, idle_ in rows],
    )


def _sum(containers: Iterable[dict[str, Any]]) -> int:
    return sum(one.get("SizeRw") or 0 for one in containers)


def _shown(value: Any) -> str:
    """Settings as the options of `engine run` are written; without any, "none"."""
    if not isinstance(value, dict):
        return str(value)
    return (
        ", ".join(f"{key}={one if isinstance(one, str) else json.dumps(one)}" for key, one in value.items()) or "none"
    )
