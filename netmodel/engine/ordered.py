"""Doing many things in a few threads, each after those that it needs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence


def run_in_order(
    items: Sequence[str],
    needs: Mapping[str, Sequence[str]],
    work: Callable[[str], None],
    threads: int,
    *,
    go_on: bool = False,
) -> None:
    """Do the work for every item, in the order given as far as possible.

    Args:
        needs: By item, those that come before it; a circle is an error of ours.
        go_on: Try all of them whatever fails; else nothing more is begun after a failure.

    Raises:
        Exception: The only failure.
        ExceptionGroup: There were several.
    """
    run = _Run(items, needs, work, go_on)
    if len(items) < 2 or threads < 2:
        run.worker()
    else:
        workers = [threading.Thread(target=run.worker, name="ordered") for _ in range(min(threads, len(items)))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if len(run.failures) == 1:
        raise run.failures[0]
    if run.failures:
        raise ExceptionGroup("several steps failed", run.failures)
    assert run.left == 0, "a circle of needs"


class _Run:
    def __init__(
        self, items: Sequence[str], needs: Mapping[str, Sequence[str]], work: Callable[[str], None], go_on: bool
    ) -> None:
        self._work = work
        self._go_on = go_on
        self._changed = threading.Condition()
        self._missing = {item: len(needs.get(item, ())) for item in items}
        self._then: dict[str, list[str]] = {}
        for item in items:
            for need in needs.get(item, ()):
                self._then.setdefault(need, []).append(item)
        self._ready = deque(item for item in items if not self._missing[item])
        self._busy = 0
        self.left = len(items)
        self.failures: list[Exception] = []

    def worker(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._work(item)
            except Exception as error:
                self._finish(item, error)
            else:
                self._finish(item, None)

    def _next(self) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._busy or self._stopped)
            if self._stopped or not self._ready:
                return None
            self._busy += 1
            return self._ready.popleft()

    @property
    def _stopped(self) -> bool:
        return bool(self.failures) and not self._go_on

    def _finish(self, item: str, failure: Exception | None) -> None:
        with self._changed:
            self._busy -= 1
            self.left -= 1
            if failure is not None:
                self.failures.append(failure)
            for then in self._then.get(item, ()):
                self._missing[then] -= 1
                if not self._missing[then]:
                    self._ready.append(then)
            self._changed.notify_all()
