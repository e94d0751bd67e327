"""What a service says of its life."""

from __future__ import annotations

from pathlib import Path

import pytest

from netmodel.model import HealthConfig, LogConfig, RestartPolicy
from netmodel.project import Dependency
from tests.netmodel.topology.support import config, load_text, project, told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('restart: "no"', RestartPolicy()),
        ("restart: no", RestartPolicy()),
        ("restart: always", RestartPolicy(name="always")),
        ("restart: unless-stopped", RestartPolicy(name="unless-stopped")),
        ("restart: on-failure:3", RestartPolicy(name="on-failure", max_retries=3)),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 2, delay: 5s}}",
         RestartPolicy(name="on-failure", max_retries=2)),
        ("deploy: {restart_policy: {}}", RestartPolicy(name="always")),
    ],
)  # fmt: skip
def test_restart(tmp_path: Path, text: str, expected: RestartPolicy) -> None:
    assert config(tmp_path, text).restart == expected


def test_healthcheck(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        healthcheck:
          test: [CMD, curl, -f, http://localhost]
          interval: 1m30s
          timeout: 10s
          retries: 3
          start_period: 40s
          start_interval: 500ms
        """,
    ).health

    assert found == HealthConfig(
        test=("CMD", "curl", "-f", "http://localhost"),
        interval_s=90,
        timeout_s=10,
        retries=3,
        start_period_s=40,
        start_interval_s=0.5,
    )


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("healthcheck: {test: curl -f localhost}", ("CMD-SHELL", "curl -f localhost")),
        ("healthcheck: {test: [NONE]}", ("NONE",)),
        ("healthcheck: {disable: true}", ("NONE",)),
        ("healthcheck: {interval: 5s}", ()),
    ],
)
def test_forms_of_a_test(tmp_path: Path, text: str, test: tuple[str, ...]) -> None:
    assert config(tmp_path, text).health.test == test


def test_namespaces_init_and_logs(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        init: true
        ipc: host
        pid: host
        uts: host
        cgroup: host
        logging: {driver: local, options: {max-size: 10m, max-file: 3}}
        """,
    )

    assert (found.init, found.ipc_mode, found.pid_mode, found.uts_mode, found.cgroupns_mode) == (
        True, "host", "host", "host", "host",
    )  # fmt: skip
    assert found.log == LogConfig(driver="local", options={"max-size": "10m", "max-file": "3"})


def test_conditions(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        """
        services:
          db: {image: host}
          web:
            image: host
            depends_on:
              db: {condition: service_healthy, restart: true}
              gone: {condition: service_started, required: false}
        """,
    )

    web = found.containers[1]
    assert web.depends_on == ("db",)
    assert web.conditions == (Dependency(service="db", condition="service_healthy", restart=True),)
    assert web.config.labels["com.docker.compose.depends_on"] == "db:service_healthy:true"


def test_a_shared_namespace_is_a_dependency(tmp_path: Path) -> None:
    found = project(tmp_path, "services: {a: {image: host}, b: {image: host, pid: service:a, network_mode: service:a}}")

    assert found.containers[1].depends_on == ("a",)
    assert (
        "a cycle: a → b → a"
        in told(
            tmp_path, "services: {a: {image: host, ipc: shareable, depends_on: [b]}, b: {image: host, ipc: service:a}}"
        )[0]
    )
    assert (
        'service "a" keeps its IPC to itself'
        in told(tmp_path, "services: {a: {image: host}, b: {image: host, ipc: service:a}}")[0]
    )


def test_profiles(tmp_path: Path) -> None:
    text = """
    services:
      web: {image: host}
      debug: {image: host, profiles: [debug, all]}
    x-expect: [web -> debug, debug -> web]
    """

    def names(value: str) -> list[str]:
        return [one.service for one in load_text(tmp_path, text, {"COMPOSE_PROFILES": value}).project.containers]

    assert names("") == ["web"]
    assert names("other,debug") == ["web", "debug"]
    assert names("*") == ["web", "debug"]
    assert load_text(tmp_path, text).project.expectations == ()
    assert len(load_text(tmp_path, text, {"COMPOSE_PROFILES": "all"}).project.expectations) == 2


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("restart: allways", 'services.web.restart: "allways" is no restart policy; did you mean "always"?'),
        ("restart: always:3", "a number of retries is written on-failure:3"),
        ("healthcheck: {test: [curl, x]}", "not with one of NONE, CMD, CMD-SHELL (to run curl, put CMD before it)"),
        ("healthcheck: {test: [CMD]}", "names no command"),
        ("healthcheck: {interval: 5}", '"5" is no duration'),
        ("healthcheck: {test: x, disable: true}", "contradicts test"),
        ("healthcheck: {intervall: 5s}", 'unknown key "intervall" (did you mean "interval"?)'),
        ("pid: private", '"private" is no value of pid; there are host'),
        ("ipc: service:gone", 'there is no service "gone"'),
        ("uts: private", '"private" is no value of uts'),
        ("restart: always\n    deploy: {restart_policy: {condition: none}}", "contradicts services.web.deploy"),
        ("deploy: {restart_policy: {condition: allways}}", 'unknown condition "allways"'),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, keys: str, expected: str) -> None:
    (mistake,) = told(tmp_path, f"services:\n  web:\n    image: host\n    {keys}\n")

    assert expected in mistake
    assert mistake[0].isdigit()
