"""Health checks: what is run, when, and what it amounts to."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from netmodel.engine import Engine
from netmodel.engine.healthconfig import resolve
from netmodel.errors import Invalid
from netmodel.model import HealthConfig, RestartPolicy
from runtime.images.image import Healthcheck, Image, ImageConfig
from tests.netmodel.engine.conftest import Run, clean_up, output_of, runner
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["engine", "host"]

READY = HealthConfig(test=("CMD-SHELL", "test -e /tmp/ready || { echo not yet; exit 1; }"))


def status(engine: Engine, name: str = "web") -> str:
    return engine.container(name).state.health


def test_the_images_check_fills_in_what_is_not_said() -> None:
    theirs = Healthcheck(
        test=("CMD", "true"), interval_s=5, timeout_s=0, start_period_s=2, start_interval_s=0, retries=0
    )
    image = Image(
        id="sha256:1", names=(), created_at=datetime.now(UTC), layers=(), config=ImageConfig(healthcheck=theirs)
    )

    found = resolve(HealthConfig(retries=7), image)

    assert found == HealthConfig(test=("CMD", "true"), interval_s=5, timeout_s=30, start_period_s=2, retries=7)
    assert resolve(HealthConfig(test=("NONE",)), image) is None
    assert resolve(HealthConfig(), None) is None


@pytest.mark.kernel
def test_readiness_is_seen_at_once(engine: Engine, run: Run) -> None:
    """Docker would look for the first time after thirty seconds."""
    events = engine.events.subscribe()
    run("web", health=READY)
    eventually(lambda: (found := engine.health("web")) and found.log)
    assert status(engine) == "starting"

    output_of(engine, "web", "touch", "/tmp/ready")
    begun = time.monotonic()

    eventually(lambda: status(engine) == "healthy")
    assert time.monotonic() - begun < 5
    health = engine.health("web")
    assert health is not None
    assert (health.status, health.failing_streak, health.log[-1].exit_code) == ("healthy", 0, 0)
    assert health.log[0].output == "not yet\n"
    seen = []
    while not seen or seen[-1] != "health_status: healthy":
        seen.append(events.get(1).action)
    assert "start" in seen


@pytest.mark.kernel
def test_failures_in_a_row_make_it_unhealthy_and_one_success_heals(engine: Engine, run: Run) -> None:
    quick = HealthConfig(test=READY.test, interval_s=0.1, retries=2)
    run("web", health=quick)

    eventually(lambda: status(engine) == "unhealthy")
    output_of(engine, "web", "touch", "/tmp/ready")
    eventually(lambda: status(engine) == "healthy")
    output_of(engine, "web", "rm", "/tmp/ready")
    eventually(lambda: status(engine) == "unhealthy")


@pytest.mark.kernel
def test_no_failure_counts_in_the_start_period(engine: Engine, run: Run) -> None:
    run("web", health=HealthConfig(test=("CMD", "false"), interval_s=0.05, start_period_s=60, retries=1))

    eventually(lambda: (found := engine.health("web")) and len(found.log) == 5)

    assert status(engine) == "starting"


@pytest.mark.kernel
def test_a_check_that_hangs_is_ended(engine: Engine, run: Run) -> None:
    run("web", health=HealthConfig(test=("CMD-SHELL", "sleep 1000"), interval_s=0.1, timeout_s=0.2, retries=1))

    eventually(lambda: status(engine) == "unhealthy")

    health = engine.health("web")
    assert health is not None
    assert health.log[-1].exit_code == -1
    assert "longer than 0.2 s" in health.log[-1].output
    engine.pause("web")
    engine.unpause("web")
    eventually(lambda: "sleep 1000" not in output_of(engine, "web", "ps", "-e", "-o", "args="))


@pytest.mark.kernel
def test_a_check_that_cannot_be_run_fails(engine: Engine, run: Run) -> None:
    run("web", health=HealthConfig(test=("CMD", "no-such-program"), interval_s=0.05, retries=1))

    eventually(lambda: status(engine) == "unhealthy")

    health = engine.health("web")
    assert health is not None
    assert "not found" in health.log[-1].output


@pytest.mark.kernel
def test_a_new_life_starts_anew(engine: Engine, run: Run) -> None:
    policy = RestartPolicy(name="always")
    run("web", health=READY, restart=policy, command=("sh", "-c", "touch /tmp/ready; sleep infinity"))
    eventually(lambda: status(engine) == "healthy")
    output_of(engine, "web", "rm", "/tmp/ready")

    engine.kill("web", "SIGKILL")
    engine.start("web")

    eventually(lambda: status(engine) == "healthy")
    assert engine.container("web").state.health == "healthy"
    engine.stop("web", 0)


@pytest.mark.kernel
def test_the_next_engine_looks_on(host: Box, tmp_path: Path) -> None:
    first = Engine(tmp_path / "root")
    first.open()
    runner(first)("web", health=HealthConfig(test=READY.test, interval_s=0.1, retries=1, start_period_s=60))
    output_of(first, "web", "touch", "/tmp/ready")
    eventually(lambda: status(first) == "healthy")
    first.close()

    second = Engine(tmp_path / "root")
    second.open()

    assert status(second) == "healthy"
    output_of(second, "web", "rm", "/tmp/ready")
    eventually(lambda: status(second) == "unhealthy")
    clean_up(second)


@pytest.mark.kernel
def test_a_check_without_a_command_is_refused(run: Run) -> None:
    with pytest.raises(Invalid, match="names no command"):
        run("web", health=HealthConfig(test=("CMD",)))
