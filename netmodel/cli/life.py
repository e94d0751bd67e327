"""The options about a container's life: restarts, health, init, logs, shared namespaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from netmodel.cli.pairs import pairs
from netmodel.cli.units import Duration

F = TypeVar("F", bound=Callable[..., Any])

_RESTART = click.option("--restart", default="", help="no, always, unless-stopped, on-failure[:TIMES]")
_OPTIONS = (
    _RESTART,
    click.option("--health-cmd", default="", help="Command that tells by its exit code whether it does its work"),
    click.option("--health-interval", type=Duration(), default=0.0, help="Time between two checks [30s]"),
    click.option("--health-timeout", type=Duration(), default=0.0, help="Time a check may take [30s]"),
    click.option("--health-retries", type=int, default=0, help="Failures in a row that make it unhealthy [3]"),
    click.option("--health-start-period", type=Duration(), default=0.0, help="Time in which failures do not count"),
    click.option("--health-start-interval", type=Duration(), default=0.0, help="Time between checks then [100ms]"),
    click.option("--no-healthcheck", is_flag=True, help="Not even the image's check"),
    click.option("--init", is_flag=True, help="A small first process passes signals on and reaps"),
    click.option("--log-driver", default="", help="json-file, local or none"),
    click.option("--log-opt", multiple=True, help="max-size=10m, max-file=3"),
    click.option("--ipc", default="", help="private, shareable, none, host or container:NAME"),
    click.option("--pid", default="", help="host or container:NAME"),
    click.option("--uts", default="", help="host"),
    click.option("--cgroupns", default="", help="private or host"),
)


def life_options(function: F) -> F:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def restart_option(function: F) -> F:
    return _RESTART(function)


def life_body(o: dict[str, Any]) -> dict[str, Any]:
    """Their part of a HostConfig.

    Args:
        o: The options' values by name.
    """
    return {
        "RestartPolicy": restart_policy(o["restart"]),
        "LogConfig": {"Type": o["log_driver"], "Config": pairs(o["log_opt"], "log option")},
        "Init": o["init"] or None,
        "IpcMode": o["ipc"],
        "PidMode": o["pid"],
        "UTSMode": o["uts"],
        "CgroupnsMode": o["cgroupns"],
    }


def restart_policy(text: str) -> dict[str, Any]:
    """A policy as Docker's users write it: "on-failure:3"."""
    name, colon, times = text.partition(":")
    if colon and not times.isdigit():
        raise click.UsageError(f"restart policy {text!r} is not of the form on-failure:TIMES")
    return {"Name": name, "MaximumRetryCount": int(times) if times else 0}


def healthcheck(o: dict[str, Any]) -> dict[str, Any] | None:
    """The check, in nanoseconds; None leaves all to the image."""
    times = {
        "Interval": o["health_interval"],
        "Timeout": o["health_timeout"],
        "StartPeriod": o["health_start_period"],
        "StartInterval": o["health_start_interval"],
    }
    given = bool(o["health_cmd"] or o["health_retries"] or any(times.values()))
    if o["no_healthcheck"]:
        if given:
            raise click.UsageError("--no-healthcheck and the other options of a health check exclude each other")
        return {"Test": ["NONE"]}
    if not given:
        return None
    return {
        "Test": ["CMD-SHELL", o["health_cmd"]] if o["health_cmd"] else None,
        "Retries": o["health_retries"],
        **{name: round(value * 1e9) for name, value in times.items()},
    }
