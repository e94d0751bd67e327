"""Waiting until a dependency has come as far as depends_on wants it."""

from __future__ import annotations

from netmodel.engine.lifecycle import Lifecycle
from netmodel.errors import Conflict
from netmodel.model import Container
from netmodel.project import Dependency


def wait_for(lifecycle: Lifecycle, container: Container, dependency: Dependency) -> None:
    """Return once the condition holds for a container that was started; reacts to what happens to it.

    Raises:
        Conflict: It cannot come true any more.
    """
    if dependency.condition == "service_healthy":
        _healthy(lifecycle, container)
    elif dependency.condition == "service_completed_successfully":
        code = lifecycle.wait(container.id, "not-running").result()
        if code != 0:
            raise Conflict(f"{container.name} has exited with {code}", f"see netmodel logs {container.name}")


def _healthy(lifecycle: Lifecycle, container: Container) -> None:
    outcome = lifecycle.health.settled(container.id).result()
    if outcome == "none":
        raise Conflict(f"{container.name} has no health check", "give its service one: healthcheck:")
    if outcome == "ended":
        raise Conflict(f"{container.name} has ended before it was healthy", f"see netmodel logs {container.name}")
    if outcome != "healthy":
        health = lifecycle.health.of(container)
        said = health.log[-1].output.strip() if health and health.log else ""
        raise Conflict(f"{container.name} is {outcome}" + (f": {said}" if said else ""), "its check has failed")
