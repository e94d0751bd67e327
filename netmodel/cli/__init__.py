"""The command line. Every module here is imported only when its command is run."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 wrong request."""
    from netmodel.cli.app import run

    return run(argv)
