"""depends_on in its long form: up waits until what comes first has come far enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from netmodel.engine import Engine, Progress
from netmodel.errors import NetmodelError
from netmodel.model import ContainerConfig, HealthConfig
from netmodel.project import CONFIG_HASH_LABEL, PROJECT_LABEL, SERVICE_LABEL, Dependency, Project, ServiceContainer
from tests.netmodel.engine.shared import engine, host

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel

READY = HealthConfig(test=("CMD", "test", "-e", "/tmp/ready"), timeout_s=5)
SLEEP = ("sleep", "infinity")


def service(name: str, *conditions: Dependency, hash_: str = "1", **config: Any) -> ServiceContainer:
    labels = {PROJECT_LABEL: "lab", SERVICE_LABEL: name, CONFIG_HASH_LABEL: hash_}
    wanted = {"image": "host", "command": SLEEP, "network_mode": "none", "labels": labels, **config}
    return ServiceContainer(
        service=name,
        number=1,
        name=f"lab-{name}-1",
        config=ContainerConfig(**wanted),
        depends_on=tuple(one.service for one in conditions),
        conditions=conditions,
    )


def up(engine: Engine, *containers: ServiceContainer) -> list[tuple[str, str, str]]:
    told: list[Progress] = []
    try:
        engine.up(Project(name="lab", containers=containers), told.append)
    finally:
        steps = [(one.action, one.name, one.state) for one in told if one.kind == "container"]
    return steps


def test_it_waits_for_health(engine: Engine) -> None:
    """Though others need a thread to start in, too."""
    db = service("db", health=READY, command=("sh", "-c", "sleep 0.5; touch /tmp/ready; sleep infinity"))
    healthy = Dependency(service="db", condition="service_healthy")

    up(engine, db, *(service(f"web{number}", healthy) for number in range(4)), service("free"))

    state = engine.container("lab-db-1").state
    assert state.health == "healthy"
    assert state.started_at is not None
    for number in range(4):
        started = engine.container(f"lab-web{number}-1").state.started_at
        assert started is not None
        assert (started - state.started_at).total_seconds() > 0.5
    engine.down("lab")


def test_it_waits_for_completion(engine: Engine) -> None:
    done = Dependency(service="migrate", condition="service_completed_successfully")

    up(engine, service("migrate", command=("sleep", "0.3")), service("web", done))

    migrate, web = engine.container("lab-migrate-1").state, engine.container("lab-web-1").state
    assert migrate.finished_at is not None
    assert web.started_at is not None
    assert web.started_at > migrate.finished_at
    engine.down("lab")


@pytest.mark.parametrize(
    ("first", "condition", "message"),
    [
        (service("a", health=replace(READY, interval_s=0.1, retries=1)), "service_healthy", "lab-a-1 is unhealthy"),
        (service("a", health=READY, command=("false",)), "service_healthy", "has ended before it was healthy"),
        (service("a"), "service_healthy", "has no health check"),
        (service("a", command=("sh", "-c", "exit 3")), "service_completed_successfully", "has exited with 3"),
    ],
    ids=["unhealthy", "ended", "unchecked", "failed"],
)
def test_a_condition_that_cannot_come_true_fails(
    engine: Engine, first: ServiceContainer, condition: Any, message: str
) -> None:
    dependency = Dependency(service="a", condition=condition)

    with pytest.raises(NetmodelError, match=message):
        up(engine, first, service("web", dependency))

    assert engine.containers() == []
    up(engine, first, service("web", replace(dependency, required=False)))
    assert engine.container("lab-web-1").state.running
    engine.down("lab")


def test_what_is_made_anew_restarts_who_asked_for_it(engine: Engine) -> None:
    asked = service("asked", Dependency(service="db", restart=True))
    other = service("other", Dependency(service="db"))
    up(engine, service("db"), asked, other)
    before = {name: engine.container(name).state.pid for name in ("lab-asked-1", "lab-other-1")}

    up(engine, service("db", hash_="2"), asked, other)

    assert engine.container("lab-asked-1").state.pid != before["lab-asked-1"]
    assert engine.container("lab-other-1").state.pid == before["lab-other-1"]
    engine.down("lab")
