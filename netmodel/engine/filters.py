"""Docker's list filters: several values of one are alternatives, several filters all must hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from netmodel.errors import Invalid

T = TypeVar("T")
Filters = Mapping[str, Sequence[str]]
Test = Callable[[T, str], bool]

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def apply(records: Iterable[T], filters: Filters | None, tests: Mapping[str, Test[T]]) -> list[T]:
    """The records for which every filter holds.

    Args:
        tests: By filter, whether a record fits one value of it. "label" and "label!" ask all values to hold.

    Raises:
        Invalid: There is no such filter.
    """
    wanted = {name: tuple(values) for name, values in (filters or {}).items() if values}
    for name in wanted:
        if name not in tests:
            raise Invalid(f"invalid filter {name!r}", f"there are: {', '.join(sorted(tests))}")
    return [
        record
        for record in records
        if all(
            (all if name.startswith("label") else any)(tests[name](record, value) for value in values)
            for name, values in wanted.items()
        )
    ]


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """ "key" or "key=value"."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def matches(text: str, wanted: str) -> bool:
    """A part of it, or a regular expression that fits some of it: "^web$"."""
    if wanted in text:
        return True
    try:
        return re.search(wanted, text) is not None
    except re.error:
        return False


def one_of(text: str, words: Sequence[str]) -> str:
    """The same text.

    Raises:
        Invalid: It is none of these.
    """
    if text not in words:
        raise Invalid(f"there is nothing {text!r} to filter by", f"there are: {', '.join(words)}")
    return text


def truth(text: str) -> bool:
    """Docker's booleans.

    Raises:
        Invalid: It is none.
    """
    lowered = text.lower()
    if lowered in ("1", "t", "true"):
        return True
    if lowered in ("0", "f", "false"):
        return False
    raise Invalid(f"{text!r} is neither true nor false")


def moment(text: str) -> datetime:
    """A time as filters give it: seconds since 1970, RFC 3339, or a duration before now ("10m", "1h30m").

    Raises:
        Invalid: It is none of these.
    """
    found = _DURATION.fullmatch(text)
    if text and found is not None:
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return datetime.now(UTC) - timedelta(hours=hours, minutes=minutes, seconds=seconds)
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is not a time", "seconds since 1970, 2026-01-31T12:00:00Z, or a duration as 10m"
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
