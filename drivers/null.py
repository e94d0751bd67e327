"""null, called "none" by users: a namespace with a loopback and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from drivers.api import Attachment, Endpoint, Network
from drivers.options import refuse_unknown


class Null:
    """No link at all. The loopback is up in every sandbox, and that is the sandbox's work."""

    name: str = "null"
    scope: Literal["local", "global"] = "local"
    wants_pools = False

    def parse(self, options: Mapping[str, str]) -> None:
        refuse_unknown(self.name, options, ())

    def create_network(self, network: Network[None]) -> None:
        """There is no segment."""

    def delete_network(self, network: Network[None]) -> None:
        """There was none."""

    def create_endpoint(self, network: Network[None], endpoint: Endpoint) -> None:
        """Nothing to reserve."""

    def delete_endpoint(self, network: Network[None], endpoint: Endpoint) -> None:
        """Nothing to give back."""

    def join(self, network: Network[None], endpoint: Endpoint, netns: Path) -> Attachment | None:
        """No link is put into the namespace."""
        return None

    def leave(self, network: Network[None], endpoint: Endpoint) -> None:
        """Nothing to take out."""
