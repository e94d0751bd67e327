"""What a container's health check is: its own wish, its image's, and the usual values."""

from __future__ import annotations

from netmodel.errors import Invalid
from netmodel.model import HealthConfig
from runtime.images import Image

# Docker's.
DEFAULTS = HealthConfig(interval_s=30, timeout_s=30, retries=3)


def resolve(config: HealthConfig, image: Image | None) -> HealthConfig | None:
    """The container's wish, the image's where it has none, the usual values where neither has one."""
    theirs = image.config.healthcheck if image is not None else None
    base = (
        HealthConfig()
        if theirs is None
        else HealthConfig(
            test=theirs.test,
            interval_s=theirs.interval_s,
            timeout_s=theirs.timeout_s,
            start_period_s=theirs.start_period_s,
            start_interval_s=theirs.start_interval_s,
            retries=theirs.retries,
        )
    )
    test = config.test or base.test
    if not test or test[0] == "NONE":
        return None
    return HealthConfig(
        test=test,
        interval_s=config.interval_s or base.interval_s or DEFAULTS.interval_s,
        timeout_s=config.timeout_s or base.timeout_s or DEFAULTS.timeout_s,
        start_period_s=config.start_period_s or base.start_period_s,
        start_interval_s=config.start_interval_s or base.start_interval_s,
        retries=config.retries or base.retries or DEFAULTS.retries,
    )


def check_health(config: HealthConfig) -> None:
    """Refuse a check that cannot be.

    Raises:
        Invalid: Says why.
    """
    test = config.test
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise Invalid(f"health check {test[0]!r} is not known", "one of CMD, CMD-SHELL, NONE")
    if test and test[0] != "NONE" and len(test) < 2:
        raise Invalid(f"health check {test[0]} names no command", "say what to run")
    times = (config.interval_s, config.timeout_s, config.start_period_s, config.start_interval_s, config.retries)
    if any(value < 0 for value in times):
        raise Invalid("a time or a number of retries of the health check is negative", "0 is the usual")
