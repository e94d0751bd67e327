"""host: a container without a network of its own. There is nothing to make and nothing to remove."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from drivers.api import Attachment, Endpoint, Network
from drivers.options import refuse_unknown


class Host:
    """The container uses the host's namespace, so it is never put into one of ours."""

    name: str = "host"
    scope: Literal["local", "global"] = "local"
    wants_pools = False

    def parse(self, options: Mapping[str, str]) -> None:
        refuse_unknown(self.name, options, ())

    def create_network(self, network: Network[None]) -> None:
        """The network is the host's own."""

    def delete_network(self, network: Network[None]) -> None:
        """It stays."""

    def create_endpoint(self, network: Network[None], endpoint: Endpoint) -> None:
        """Nothing to reserve."""

    def delete_endpoint(self, network: Network[None], endpoint: Endpoint) -> None:
        """Nothing to give back."""

    def join(self, network: Network[None], endpoint: Endpoint, netns: Path) -> Attachment | None:
        """The host's links are there already."""
        return None

    def leave(self, network: Network[None], endpoint: Endpoint) -> None:
        """And they stay."""
