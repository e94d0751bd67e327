"""Taking a container away for good, once it does not run."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress

from netmodel.engine.containers import Containers
from netmodel.engine.core import Core
from netmodel.engine.namespaces import borrowers
from netmodel.engine.runs import Runs
from netmodel.engine.sandbox import Sandboxes
from netmodel.engine.undo import every_step
from netmodel.errors import Conflict
from netmodel.model import Container

_MOMENT_S = 2.0


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
        self._core.records.expect_writable()
        with every_step(f"cannot remove all of container {container.name}") as step:
            if container.sandbox == container.id:
                with step:
                    self._sandboxes.close(container.id)
            if container.sandbox in (container.id, "host") or container.config.ipc_mode == "shareable":
                with step:
                    self._core.spawner.unpin(container.id)
            with step:
                self._containers.destroy(container, volumes)
        self._runs.tell_removal(container.id, container.state.exit_code)

    def await_sharers(self, container: Container) -> None:
        """Give those that share its namespaces a moment to end: who removes all at once does so in any order."""
        others = [*self._core.records.sharers(container.id), *borrowers(self._core, container)]
        ends = [(other.id, self._runs.next_exit(other.id)) for other in others if other.id != container.id]
        deadline = time.monotonic() + _MOMENT_S
        for other_id, ended in ends:
            # Looked at after we wait: an exit between the two would never be told.
            other = self._core.records.containers.get(other_id)
            if other is not None and other.state.running:
                with suppress(FutureTimeout):
                    ended.result(max(deadline - time.monotonic(), 0))
            self._runs.give_up(other_id, ended)

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
        others = [other.name for other in borrowers(self._core, container) if other.state.running]
        if others:
            raise Conflict(
                f"container {container.name} lends namespaces to {', '.join(sorted(others))}", "remove these first"
            )
