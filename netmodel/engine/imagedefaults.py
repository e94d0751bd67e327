"""What a container takes over from its image where its own wish says nothing: labels, ports, the stop signal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from netmodel.model import ContainerConfig, NetworkProtocol, PortConfig
from runtime.images import Image

_PROTOCOLS: Mapping[str, NetworkProtocol] = {"tcp": "tcp", "udp": "udp", "sctp": "sctp"}


def with_image(config: ContainerConfig, image: Image) -> ContainerConfig:
    """The wish, completed. What its process runs is taken from the image at each start, see launch.py."""
    declared = {(port.container_port, port.protocol) for port in config.exposed_ports}
    exposed = [port for port in _ports(image) if (port.container_port, port.protocol) not in declared]
    published = {(port.container_port, port.protocol) for port in config.ports}
    ports = [port for port in exposed if (port.container_port, port.protocol) not in published]
    return replace(
        config,
        labels={**dict(image.config.labels), **config.labels},
        stop_signal=config.stop_signal or image.config.stop_signal or "SIGTERM",
        exposed_ports=(*config.exposed_ports, *exposed),
        ports=(*config.ports, *(ports if config.publish_all else ())),
    )


def _ports(image: Image) -> Iterator[PortConfig]:
    """Where it says that its containers listen: "80/tcp", "7000-7010/udp". What is no port is passed over."""
    for text in image.config.exposed_ports:
        numbers, _, protocol = text.partition("/")
        first, _, last = numbers.partition("-")
        if first.isdigit() and (last or first).isdigit() and protocol in _PROTOCOLS:
            for number in range(int(first), min(int(last or first), 65535) + 1):
                yield PortConfig(container_port=number, protocol=_PROTOCOLS[protocol])
