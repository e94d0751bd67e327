"""host: a container without a network of its own. It uses the host's namespace, and is never put into one of ours."""

from __future__ import annotations

from drivers.linkless import Linkless


class Host(Linkless):
    """The host's links are there already, and they stay."""

    name = "host"
