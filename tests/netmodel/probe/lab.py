"""A small network for probes, built with ip(8): nodes on bridges that live in the "host" box."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

from tests.support.box import Box


class Lab:
    """Segments and nodes, and the same as the engine's API would show them."""

    def __init__(self, host: Box, box: Callable[[str], Box]) -> None:
        self.host, self._box = host, box
        self._networks: list[dict[str, Any]] = []
        self._containers: dict[str, dict[str, Any]] = {}
        self.boxes: dict[str, Box] = {}

    def segment(self, name: str, *gateways: str) -> None:
        """A bridge; the host has these addresses on it."""
        self.host.run("ip", "link", "add", f"br-{name}", "type", "bridge", "mcast_snooping", "0")
        for gateway in gateways:
            self.host.run("ip", "addr", "add", gateway, "dev", f"br-{name}", *_nodad(gateway))
        self.host.run("ip", "link", "set", f"br-{name}", "up")
        pools = [
            {"subnet": str(ip_interface(gateway).network), "gateway": str(ip_interface(gateway).ip)}
            for gateway in gateways
        ]
        self._networks.append(
            {"id": name * 8, "name": f"lab_{name}", "key": name, "driver": "bridge", "subnets": pools}
        )

    def node(self, name: str, /, service: str = "", **links: str | tuple[str, ...]) -> Box:
        """A box with a link on each of the segments; its gateway is the first segment's."""
        made = self.boxes[name] = self._box(name)
        endpoints = []
        for index, (segment, given) in enumerate(links.items()):
            addresses = (given,) if isinstance(given, str) else given
            self._link(made, f"eth{index}", segment, addresses)
            endpoints.append(
                {
                    "network": f"lab_{segment}",
                    "network_key": segment,
                    "interface": f"eth{index}",
                    "mac": "",
                    "addresses": list(addresses),
                }
            )
        for segment in list(links)[:1]:
            self._default_routes(made, segment)
        self._containers[name] = {
            "id": name * 4,
            "name": name,
            "service": service or name,
            "number": 1,
            "netns": str(made.path),
            "state": "running",
            "endpoints": endpoints,
            "ports": [],
        }
        return made

    def view(self, **states: str) -> dict[str, Any]:
        containers = [{**each, "state": states.get(name, "running")} for name, each in self._containers.items()]
        return {"name": "lab", "containers": containers, "networks": self._networks, "expectations": []}

    def _link(self, box: Box, name: str, segment: str, addresses: tuple[str, ...]) -> None:
        port = f"{box.name}-{segment}"
        # Made with its peer where it belongs: moving it later would cost a grace period.
        inside = ["peer", "name", name, "netns", str(box.path)]
        self.host.run("ip", "link", "add", port, "type", "veth", *inside)
        self.host.run("ip", "link", "set", port, "master", f"br-{segment}", "up")
        box.run("ip", "link", "set", name, "up")
        for address in addresses:
            box.run("ip", "addr", "add", address, "dev", name, *_nodad(address))

    def _default_routes(self, box: Box, segment: str) -> None:
        network = next(network for network in self._networks if network["key"] == segment)
        for pool in network["subnets"]:
            family = "-6" if ":" in pool["gateway"] else "-4"
            box.run("ip", family, "route", "add", "default", "via", pool["gateway"], check=False)


def _nodad(address: str) -> list[str]:
    # Duplicate address detection would keep the address tentative for a second.
    return ["nodad"] if ":" in address else []
