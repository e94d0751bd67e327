"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Args:
        area: "rights", "limits", "namespaces", "storage", "cgroups", "network", "firewall",
            "security" or "settings".
        ok: It is as one would wish.
        detail: What was seen.
        cost: What it means for containers, and the way out; "" where all is well.
        needed: Without it no container runs.
    """

    area: str
    feature: str
    ok: bool
    detail: str
    cost: str = ""
    needed: bool = False


def tried(area: str, feature: str, why: str, cost: str, needed: bool = False) -> Finding:
    """A finding of something that was tried: why is "" if it worked."""
    return Finding(
        area=area, feature=feature, ok=not why, detail=why or "works", cost=cost if why else "", needed=needed
    )


def number(path: str) -> int | None:
    """What a file of /proc says; None where there is none."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
