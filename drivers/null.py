"""null, called "none" by users: a namespace with a loopback and nothing else. That one is the sandbox's work."""

from __future__ import annotations

from drivers.linkless import Linkless


class Null(Linkless):
    """No link is put into the namespace."""

    name = "null"
