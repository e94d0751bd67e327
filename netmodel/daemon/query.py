"""Parameters of a request's query, as Docker's clients write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from netmodel.errors import Invalid

# Go reads it, Python does not.
_DAY_AND_ZONE = re.compile(r"^(\d{4}-\d\d-\d\d)(Z|[+-]\d\d:\d\d)$")


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    text = request.query.get(name)
    if text is None:
        return default
    return text.lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise Invalid(f"{name}={text!r} is not a whole number") from error


def filters(request: web.Request) -> Mapping[str, list[str]]:
    """Parse filters, either as {"name": ["a"]} or, as the docker CLI writes them, {"name": {"a": true}}."""
    text = request.query.get("filters", "")
    if not text:
        return {}
    try:
        plain = msgspec.json.decode(text, type=dict[str, list[str] | dict[str, bool]])
    except msgspec.DecodeError as error:
        raise Invalid(f"filters are wrong: {error}") from error
    return {
        name: [value for value, wanted in values.items() if wanted] if isinstance(values, dict) else values
        for name, values in plain.items()
    }


def moment(request: web.Request, name: str) -> datetime | None:
    """Parse a time: Unix seconds with an optional fraction, or RFC 3339 and its beginnings, here or with a zone."""
    text = request.query.get(name, "")
    if not text:
        return None
    try:
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        text = _DAY_AND_ZONE.sub(r"\1T00:00\2", text)
        parsed = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"{name}={text!r} is not a time",
            "RFC 3339 (2026-01-31T12:00:00Z), Unix seconds, or on the command line a duration ago (5m)",
        ) from error
    return parsed if parsed.tzinfo else parsed.astimezone()
