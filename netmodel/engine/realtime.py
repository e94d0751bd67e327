"""Time for real-time tasks: what may be asked for, and what the engine's settings say of it."""

from __future__ import annotations

from netmodel.errors import Invalid
from runtime.cgroups.realtime import Time

PERIOD_US = 1_000_000  # of a group that nobody told another


def chosen(runtime: int | None, period: int | None) -> Time | None:
    """What all containers share, by the settings of the engine; None is what they need."""
    return None if runtime is None else Time(runtime, PERIOD_US if period is None else period)


def check_realtime(runtime: int | None, period: int | None) -> None:
    """Refuse what no kernel takes.

    Raises:
        Invalid: Says why.
    """
    for what, value in (("runtime", runtime), ("period", period)):
        if value is not None and value < 1:
            raise Invalid(f"a real-time {what} of {value} microseconds is none", "at least 1; leave it out for none")
    whole = PERIOD_US if period is None else period
    if runtime is not None and runtime > whole:
        raise Invalid(
            f"a real-time runtime of {runtime} microseconds is longer than its period of {whole}", "shorten it"
        )
