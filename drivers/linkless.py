"""What host and null have in common: they make nothing, so there is nothing to undo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from drivers.api import Attachment, Endpoint, Network
from drivers.options import refuse_unknown


class Linkless:
    """The six verbs of a driver without links."""

    name: str
    scope: Literal["local", "global"] = "local"
    wants_pools = False

    def parse(self, options: Mapping[str, str]) -> None:
        refuse_unknown(self.name, options, ())

    def create_network(self, network: Network[None]) -> None: ...

    def delete_network(self, network: Network[None]) -> None: ...

    def create_endpoint(self, network: Network[None], endpoint: Endpoint) -> None: ...

    def delete_endpoint(self, network: Network[None], endpoint: Endpoint) -> None: ...

    def join(self, network: Network[None], endpoint: Endpoint, netns: Path) -> Attachment | None:
        return None

    def leave(self, network: Network[None], endpoint: Endpoint) -> None: ...
