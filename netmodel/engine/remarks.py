"""What will not be as one may think of a container that was just created; a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from netmodel.engine.core import Core
from netmodel.engine.exposures import Exposures
from netmodel.model import Container


def remarks(core: Core, exposures: Exposures, container: Container) -> list[str]:
    return [*exposures.missing(container), *_twins(core, container)]


def _twins(core: Core, container: Container) -> Iterator[str]:
    """A MAC address that was chosen, and that another one has on the same network: frames reach one of the two."""
    for endpoint in core.records.endpoints_of(container.id):
        network = core.records.networks.get(endpoint.network_id)
        if not endpoint.config.mac_address or network is None:
            continue
        for other in core.records.endpoints_on(endpoint.network_id):
            owner = core.records.containers.get(other.container_id)
            if other.mac == endpoint.mac and other.id != endpoint.id and owner is not None:
                what = f"{owner.name} has the MAC address {endpoint.mac} on network {network.name}, too"
                yield f"{what}: frames reach one of the two"
                break
