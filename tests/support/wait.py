"""Waiting on a condition with a deadline; a test never sleeps for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Return the condition's first true value.

    Raises:
        AssertionError: It did not become true in time; tells its last value.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition} still {value!r} after {timeout_s} s")
        time.sleep(0.01)
