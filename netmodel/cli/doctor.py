"""doctor."""

from __future__ import annotations

import click

from netmodel.cli.session import Session, Verb, json_option, note, show_json


@click.command(cls=Verb)
@json_option
@click.pass_obj
def doctor(session: Session, as_json: bool) -> int:
    """Show what this machine can do, what is missing and what that costs."""
    from dataclasses import asdict
    from pathlib import Path

    from netmodel.doctor import examine  # here, not in the engine: it must help when none starts

    findings = examine(Path(session.connect(start=False).root))
    if as_json:
        show_json([asdict(finding) for finding in findings])
        return 0
    from netmodel.cli.table import show

    show(
        ("", "AREA", "FEATURE", "DETAIL", "WITHOUT IT"),
        [
            ("ok" if one.ok else "missing", one.area, one.feature, one.detail, "" if one.ok else one.cost)
            for one in findings
        ],
    )
    missing = sum(not one.ok for one in findings)
    note(f"{missing} of {len(findings)} features are missing" if missing else f"all {len(findings)} features are here")
    return 0
