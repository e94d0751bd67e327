"""Events in Docker's JSON."""

from __future__ import annotations

from typing import Any

from netmodel.engine import Event


def shape(event: Event) -> dict[str, Any]:
    attributes = dict(event.attributes)
    answer: dict[str, Any] = {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": attributes},
        "scope": "local",
        "time": int(event.time.timestamp()),
        "timeNano": int(event.time.timestamp() * 1_000_000) * 1000,
    }
    if event.type == "container":  # the words of Docker's first API, which its clients still read
        answer.update({"status": event.action, "id": event.id, "from": attributes.get("image", "")})
    return answer
