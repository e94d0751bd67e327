"""The spawner's refusals that are no failures: what was asked for has come about by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import RuntimeFault


@contextmanager
def unless(*kinds: str) -> Iterator[None]:
    """Let the spawner refuse for one of these reasons: which class it raised does not cross its socket."""
    try:
        yield
    except RuntimeFault as fault:
        if fault.kind not in kinds:
            raise
