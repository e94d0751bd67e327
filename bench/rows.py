"""The rows of the table: what is measured, in which unit, and what DESIGN.md section 9 allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench import crowd, dns, layers, loading, standing, traffic, twins, variants

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
        *(Row(name=name) for name in variants.VARIANTS),
        *(Row(name=layers.row(count)) for count in layers.LAYERS),
        Row(name="network create", budget=5),
        Row(name="network rm", budget=10),
        Row(name="connect", budget=4),
        Row(name="disconnect", budget=6),
        Row(name=crowd.ONE_BY_ONE),
        Row(name=crowd.AT_ONCE),
        Row(name=crowd.AGAINST, unit="of one by one"),
        Row(name="publish 100 ports", budget=5),
        Row(name="remove them", budget=5),
        Row(name="run, command line"),
        Row(name="exec, command line"),
        Row(name="network ls, command line", budget=80),
        *(
            Row(name=f"{size} nodes {way}, a node", budget=budget)
            for size in sizes
            for way, budget in (("up", 10), ("down", 5))
        ),
        Row(name=dns.ROW, unit="/s", budget=10_000, at_least=True),
        Row(name=traffic.BRIDGE, unit="of plain", budget=0.97, at_least=True),
        Row(name=traffic.PUBLISHED, unit="of plain", budget=0.97, at_least=True),
        *_crowded(twins.PORTS),
        *_crowded(twins.NETWORKS),
        Row(name="memory", unit="MB", budget=0.3),
        *_standing(),
        Row(name=loading.LOAD, unit="s"),
        Row(name=loading.LOAD_CPU, unit="s"),
        Row(name=loading.PULL, unit="s"),
    ]


def _crowded(kind: twins.Kind) -> Iterator[Row]:
    one = f"of 1 {kind.noun}"
    for level in kind.levels:
        yield Row(name=kind.rate(level), unit="/s", at_least=True)
        yield Row(name=kind.flat(level), unit=one, budget=0.95, at_least=True)
        yield Row(name=kind.first_byte(level), unit="us")
        yield Row(name=kind.late_byte(level), unit="us")
        if kind.publishes:
            yield Row(name=kind.next(level))
            yield Row(name=kind.next_flat(level), unit=one, budget=0.95, at_least=True)


def _standing() -> Iterator[Row]:
    for count in standing.COUNTS:
        yield Row(name=standing.start(count))
        if count:
            yield Row(name=standing.flat(count), unit="of 0 running", budget=1.05)
            yield Row(name=standing.share(count), unit="MB", budget=0.3)
        for part in standing.PARTS:
            yield Row(name=standing.weight(part, count), unit="MB")


NOTES = (
    "Medians. dockerd and netmodel get the same requests over their API sockets; podman has no daemon, so",
    "its figures are its command line's everywhere. publish: what 100 ports add to starting (removing) a",
    "container. memory: the engine's own processes, for each container that runs. Mininet's hosts have a",
    "network namespace only. floor: the same system calls and netlink messages with no logic around them;",
    "its network rm waits for the kernel's grace period, its disconnect leaves deletion to later as ours does.",
    "user namespace, seccomp: peers are asked without a user namespace of the container's own.",
    "start: create and start, a container, many of them on four networks. DNS: asked from inside, 32 under way.",
    "throughput: a share of what veth pairs and a bridge carry where nothing filters, measured turn by turn.",
    "connections: from outside, one after another, through one published port, client and server on one processor;",
    "of 1 port (network): a second engine beside it that has one, turn by turn, so that with 1 it is the noise.",
    "running: what one more costs; memory is the processes' proportional share (PSS), their files included, and",
    "a container's of what they hold for themselves.",
    "image of 200 MB: 4,000 files in four layers, gzip; with --quick a tenth of it. pull: from loopback.",
    "too slow: who is not there within a minute (4 s with --quick) is asked no further.",
)
