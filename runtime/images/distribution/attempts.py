"""Trying again what may work the next time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from runtime.images.registry import RegistryFailed

T = TypeVar("T")
ATTEMPTS = 5
_FIRST_S, _LONGEST_S = 0.2, 10.0


def persist(work: Callable[[], T], given_up: threading.Event, progress: Callable[[], int] = lambda: 0) -> T:
    """Do it until it works, waiting longer each time.

    Args:
        given_up: Set when nobody wants it any more; ends a wait.
        progress: Some figure; when it has grown the count of attempts begins anew.

    Raises:
        RegistryFailed: The last one.
    """
    failures, reached = 0, progress()
    while True:
        try:
            return work()
        except RegistryFailed as error:
            if progress() > reached:
                failures, reached = 0, progress()
            failures += 1
            if not error.again or failures == ATTEMPTS:
                raise
            # Not all at the same moment: it may be us who are too many.
            wait_s = min(_FIRST_S * 2**failures, _LONGEST_S) * random.uniform(0.5, 1)
            if given_up.wait(max(wait_s, error.after_s)):
                raise
