"""The rows of the table: what is measured, in which unit, and what DESIGN.md section 9 allows."""

from __future__ import annotations

from dataclasses import dataclass

from bench import traffic

FLOOR, OURS = "floor", "netmodel"
COLUMNS = (FLOOR, OURS, "dockerd", "podman", "Mininet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Args:
    at_least: More is better, and the budget the least.
    """

    name: str
    unit: str = "ms"
    budget: float | None = None
    at_least: bool = False


def rows(sizes: list[int]) -> list[Row]:
    return [
        Row(name="run", budget=12),
        Row(name="rm -f"),
        Row(name="exec", budget=8),
        Row(name="network create", budget=5),
        Row(name="network rm", budget=10),
        Row(name="connect", budget=4),
        Row(name="disconnect", budget=6),
        Row(name="start, one by one"),
        Row(name="start, 16 at a time"),
        Row(name="DNS answer, local name", unit="us", budget=100),
        Row(name="publish 100 ports", budget=5),
        Row(name="remove them", budget=5),
        Row(name="run, command line"),
        Row(name="exec, command line"),
        Row(name="network ls, command line", budget=80),
        *(
            row
            for size in sizes
            for row in (
                Row(name=f"{size} nodes up, a node", budget=10),
                Row(name=f"{size} nodes down, a node", budget=5),
            )
        ),
        Row(name="memory", unit="MB", budget=0.3),
        Row(name=traffic.BRIDGE, unit="of plain", budget=0.97, at_least=True),
        Row(name=traffic.PUBLISHED, unit="of plain", budget=0.97, at_least=True),
        *(Row(name=traffic.connections(ports), unit="/s", at_least=True) for ports in (1, 100, 10_000)),
        Row(name=traffic.FLAT, unit="of 1 port", budget=0.95, at_least=True),
        Row(name=traffic.NETWORKS, unit="of few", budget=0.95, at_least=True),
    ]


NOTES = (
    "Medians. dockerd and netmodel get the same requests over their API sockets; podman has no daemon, so",
    "its figures are its command line's everywhere. publish: what 100 ports add to starting (removing) a",
    "container. memory: the engine's own processes, for each container that runs. Mininet's hosts have a",
    "network namespace only. floor: the same system calls and netlink messages with no logic around them;",
    "its network rm waits for the kernel's grace period, its disconnect leaves deletion to later as ours does.",
    "start: create and start, a container, many of them on four networks. DNS: asked from inside, 32 under way.",
    "throughput: a share of what veth pairs and a bridge carry where nothing filters, measured turn by turn.",
    "connections: from outside, one after another, through one published port while others are published too,",
    "or while there are 500 other networks (100 with --quick). dockerd is not asked for 10,000 ports.",
)
