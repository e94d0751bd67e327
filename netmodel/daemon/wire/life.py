"""What Docker's API says about a container's life: restarts, health, init, logs, shared namespaces."""

from __future__ import annotations

from typing import Any, cast

from msgspec import field

from netmodel.daemon.wire.decode import Body
from netmodel.daemon.wire.encode import moment
from netmodel.daemon.wire.security import Confining
from netmodel.engine import Health
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, HealthConfig, LogConfig, RestartPolicy

_POLICIES = ("no", "always", "unless-stopped", "on-failure")
_NS = 1_000_000_000


class Policy(Body):
    name: str = ""
    maximum_retry_count: int = 0


class Log(Body):
    type: str = ""
    config: dict[str, str] | None = None


class Healthcheck(Body):
    """Times are nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Living(Confining):
    """These fields of a HostConfig, beside the confinement's."""

    restart_policy: Policy | None = None
    log_config: Log | None = None
    init: bool | None = None
    ipc_mode: str | None = None
    pid_mode: str | None = None
    uts_mode: str | None = field(default=None, name="UTSMode")
    cgroupns_mode: str | None = None


def life(host: Living, check: Healthcheck | None) -> dict[str, Any]:
    """By the names of ContainerConfig's fields.

    Raises:
        Invalid: A value is not known.
    """
    return {
        "restart": policy(host.restart_policy),
        "health": _health(check),
        "log": _log(host.log_config),
        "init": bool(host.init),
        "ipc_mode": host.ipc_mode or "",
        "pid_mode": host.pid_mode or "",
        "uts_mode": host.uts_mode or "",
        "cgroupns_mode": host.cgroupns_mode or "",
    }


def policy(wanted: Policy | None) -> RestartPolicy:
    """A restart policy; "" is none."""
    if wanted is None or not wanted.name:
        return RestartPolicy()
    if wanted.name not in _POLICIES:
        raise Invalid(f"restart policy {wanted.name!r} is not known", f"one of {', '.join(_POLICIES)}")
    return RestartPolicy(name=cast(Any, wanted.name), max_retries=wanted.maximum_retry_count)


def _health(check: Healthcheck | None) -> HealthConfig:
    if check is None:
        return HealthConfig()
    return HealthConfig(
        test=tuple(check.test or ()),
        interval_s=check.interval / _NS,
        timeout_s=check.timeout / _NS,
        start_period_s=check.start_period / _NS,
        start_interval_s=check.start_interval / _NS,
        retries=check.retries,
    )


def _log(wanted: Log | None) -> LogConfig:
    if wanted is None or not (wanted.type or wanted.config):
        return LogConfig()
    return LogConfig(driver=wanted.type or "json-file", options=wanted.config or {})


def host_shape(config: ContainerConfig) -> dict[str, Any]:
    """The same in a container's HostConfig."""
    return {
        "RestartPolicy": {"Name": config.restart.name, "MaximumRetryCount": config.restart.max_retries},
        "LogConfig": {"Type": config.log.driver, "Config": dict(config.log.options)},
        "Init": config.init or None,
        "IpcMode": config.ipc_mode or "private",
        "PidMode": config.pid_mode,
        "UTSMode": config.uts_mode,
        "CgroupnsMode": config.cgroupns_mode or "private",
    }


def check_shape(config: HealthConfig) -> dict[str, Any] | None:
    """A health check in a container's Config; None where nothing is said of one."""
    if config == HealthConfig():
        return None
    return {
        "Test": list(config.test),
        "Interval": round(config.interval_s * _NS),
        "Timeout": round(config.timeout_s * _NS),
        "StartPeriod": round(config.start_period_s * _NS),
        "StartInterval": round(config.start_interval_s * _NS),
        "Retries": config.retries,
    }


def health_shape(health: Health | None) -> dict[str, Any] | None:
    """What is known of a container's health, in its State."""
    if health is None:
        return None
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": moment(result.start),
                "End": moment(result.end),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.log
        ],
    }
