"""What a service says of its life: restarts, health, init, logs, shared namespaces, profiles."""

from __future__ import annotations

from typing import Any

from netmodel.model import HealthConfig, LogConfig, RestartPolicy
from netmodel.topology import units
from netmodel.topology.diagnostic import did_you_mean
from netmodel.topology.keys import DEPLOY, HEALTHCHECK, LOGGING, RESTART_POLICY, words
from netmodel.topology.value import Fields, Value

_POLICIES = ("no", "always", "unless-stopped", "on-failure")
_CONDITIONS = {"none": "no", "on-failure": "on-failure", "any": "always"}
_DRIVERS = ("json-file", "local", "none")
_TESTS = ("NONE", "CMD", "CMD-SHELL")
_IPC = words("host none private shareable")


def read(fields: Fields) -> dict[str, Any]:
    """By the names of ContainerConfig's fields."""
    return {
        "restart": _restart(fields),
        "health": _health(fields["healthcheck"]) if "healthcheck" in fields else HealthConfig(),
        "log": _logging(fields),
        "init": fields.flag("init"),
        "ipc_mode": fields.parsed("ipc", lambda text: _shared(text, "ipc", _IPC)) or "",
        "pid_mode": fields.parsed("pid", lambda text: _shared(text, "pid", words("host"))) or "",
        "uts_mode": fields.parsed("uts", lambda text: _one_of(text, "uts", words("host"))) or "",
        "cgroupns_mode": fields.parsed("cgroup", lambda text: _one_of(text, "cgroup", words("host private"))) or "",
    }


def owners(fields: Fields) -> dict[str, Value]:
    """The services whose namespaces it shares beside the network's, each with the place that says so."""
    found = {}
    for key in ("ipc", "pid"):
        text = fields.word(key)
        if text.startswith("service:"):
            found[text.removeprefix("service:")] = fields[key]
    return found


def profiles(fields: Fields) -> tuple[str, ...]:
    return fields.texts("profiles")


def _restart(fields: Fields) -> RestartPolicy:
    policy = fields.parsed("restart", _policy)
    deploy = fields["deploy"].fields(DEPLOY) if "deploy" in fields else Fields(fields.section)
    if "restart_policy" not in deploy:
        return policy or RestartPolicy()
    declared = deploy["restart_policy"].fields(RESTART_POLICY)
    condition = declared.text("condition", "any")
    if condition not in _CONDITIONS:
        declared["condition"].error(f'unknown condition "{condition}"', did_you_mean(condition, _CONDITIONS))
        return RestartPolicy()
    name: Any = _CONDITIONS[condition]
    retries = (declared.integer("max_attempts", 0) or 0) if name == "on-failure" else 0
    found = RestartPolicy(name=name, max_retries=retries)
    if policy is not None and policy != found:
        fields["restart"].error(f"contradicts {deploy['restart_policy'].key}", "keep one of the two")
    return found


def _policy(text: str) -> RestartPolicy:
    name, colon, times = text.partition(":")
    name = "no" if name == "false" else name  # YAML 1.1 reads no as false
    if name not in _POLICIES:
        close = did_you_mean(name, _POLICIES)
        raise ValueError(f'"{text}" is no restart policy' + (f"; {close}" if close else f"; {', '.join(_POLICIES)}"))
    if colon and (name != "on-failure" or not times.isdigit()):
        raise ValueError(f'"{text}" is no restart policy; a number of retries is written on-failure:3')
    found: Any = name
    return RestartPolicy(name=found, max_retries=int(times or 0))


def _health(value: Value) -> HealthConfig:
    fields = value.fields(HEALTHCHECK)
    test = _test(fields)
    if fields.flag("disable"):
        if "test" in fields and test != ("NONE",):
            fields["disable"].error("contradicts test", "keep one of the two")
        return HealthConfig(test=("NONE",))
    return HealthConfig(
        test=test,
        interval_s=fields.parsed("interval", units.duration_s) or 0,
        timeout_s=fields.parsed("timeout", units.duration_s) or 0,
        start_period_s=fields.parsed("start_period", units.duration_s) or 0,
        start_interval_s=fields.parsed("start_interval", units.duration_s) or 0,
        retries=fields.integer("retries", 0) or 0,
    )


def _test(fields: Fields) -> tuple[str, ...]:
    if "test" not in fields:
        return ()
    value = fields["test"]
    if value.is_scalar:
        text = value.text("text or a list")
        return ("CMD-SHELL", text) if text else ()
    test = value.texts()
    if test and test[0] not in _TESTS:
        value.error(
            f'begins with "{test[0]}", not with one of {", ".join(_TESTS)}', f"to run {test[0]}, put CMD before it"
        )
    elif not test or (test[0] != "NONE" and len(test) == 1):
        value.error("names no command")
    return test


def _logging(fields: Fields) -> LogConfig:
    if "logging" not in fields:
        return LogConfig()
    declared = fields["logging"].fields(LOGGING)
    driver = declared.text("driver", "json-file")
    if driver not in _DRIVERS:
        declared["driver"].warn(
            f"there is no log driver {driver} here; the output is kept as json-file", group=f"driver {driver}"
        )
        return LogConfig()
    return LogConfig(driver=driver, options=declared.words("options"))


def _shared(text: str, key: str, known: frozenset[str]) -> str:
    if text.startswith(("service:", "container:")):
        return text
    return _one_of(text, key, known)


def _one_of(text: str, key: str, known: frozenset[str]) -> str:
    if text not in known:
        raise ValueError(f'"{text}" is no value of {key}; there are {", ".join(sorted(known))}')
    return text
