"""Whether what engine.json says can be understood: with a mistake in it no engine starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from netmodel.doctor.finding import Finding
from netmodel.engine.root import Root
from netmodel.engine.settings import read_settings, said
from netmodel.errors import Invalid


def settings(root: Path) -> Iterator[Finding]:
    path = Root(root).settings
    area, feature = "settings", path.name
    try:
        found = said(read_settings(path).overridden_by(None))
    except (Invalid, OSError) as error:
        hint = getattr(error, "hint", "") or "correct it, or remove the file"
        cost = f"no engine starts: {hint}"
        yield Finding(area=area, feature=feature, ok=False, detail=str(error), cost=cost, needed=True)
        return
    detail = f"sets {', '.join(sorted(found))}" if found else "nothing is set: all is as usual"
    yield Finding(area=area, feature=feature, ok=True, detail=detail)
