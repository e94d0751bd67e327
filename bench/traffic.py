"""What goes through a network: bytes a second through a bridge and through a published port.

The machine's own speed changes by more than what is looked for, so throughput is told as a share of a
plain bridge's, each round of the one right after a round of the other.
"""

from __future__ import annotations

from bench.docker_api import DockerApi
from bench.measure import Clock
from bench.plain import Route, outside, plain
from bench.senders import PORT, bytes_a_second, netns_of

BRIDGE, PUBLISHED = "throughput, bridge", "throughput, published port"
_TURN_S = 0.1
_TURNS = 5


def measure_traffic(api: DockerApi, image: str, clock: Clock, rounds: int) -> None:
    """Measure an engine beside plain links."""
    with clock.guarded(BRIDGE, PUBLISHED), outside(None, "10.97.0") as client:
        server, other = api.run("serves", image, [PORT]), api.run("asks", image)
        try:
            switched = Route(netns_of(api, other), netns_of(api, server), _address(api, server))
            published = Route(client, netns_of(api, server), "10.97.0.1")
            with plain() as (plain_switched, plain_routed):
                for _ in range(rounds * _TURNS):
                    clock.add(BRIDGE, _share(switched, plain_switched, _TURN_S))
                    clock.add(PUBLISHED, _share(published, plain_routed, _TURN_S))
        finally:
            for container in (server, other):
                api.remove(container)


def _share(route: Route, of: Route, seconds: float) -> float:
    whole = bytes_a_second(of, seconds)
    return bytes_a_second(route, seconds) / whole


def _address(api: DockerApi, container: str) -> str:
    networks = api.ask("GET", f"/containers/{container}/json")["NetworkSettings"]["Networks"]
    return str(networks["bridge"]["IPAddress"])
