"""Taking a container away for good, once it does not run."""

from __future__ import annotations

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.runs import Runs
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.undo import every_step
from netmodel.errors import Conflict
from netmodel.model import Container


class Removal:
    """Its sandbox and all that it holds; then who waits for that is told."""

    def __init__(self, core: Core, containers: Containers, sandboxes: Sandboxes, runs: Runs) -> None:
        self._core = core
        self._containers = containers
        self._sandboxes = sandboxes
        self._runs = runs

    def destroy(self, container: Container, volumes: bool) -> None:
        """Remove one that does not run. The caller holds its lock."""
        if self._core.records.containers.get(container.id) is None:
            return  # auto_remove was quicker
        with every_step(f"cannot remove all of container {container.name}") as step:
            if container.sandbox == container.id:
                with step:
                    self._sandboxes.close(container.id)
                with step:
                    self._core.spawner.unpin(container.id)
            with step:
                self._containers.destroy(container, volumes)
        self._runs.tell_removal(container.id, container.state.exit_code)

    def check_nobody_shares(self, container: Container) -> None:
        others = [
            other.name
            for other in self._core.records.sharers(container.id)
            if other.id != container.id and other.state.running
        ]
        if others:
            raise Conflict(
                f"container {container.name} lends its network to {', '.join(sorted(others))}", "remove these first"
            )
