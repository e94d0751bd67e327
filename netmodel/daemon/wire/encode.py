"""Small pieces that many answers share."""

from __future__ import annotations

from datetime import UTC, datetime

ZERO_TIME = "0001-01-01T00:00:00Z"  # Go's zero time: what Docker says for "never"


def moment(value: datetime | None) -> str:
    """RFC 3339 in UTC, with Docker's word for never."""
    if value is None:
        return ZERO_TIME
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
