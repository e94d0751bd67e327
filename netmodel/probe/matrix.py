"""Who reaches whom: every container and the host, each towards each.

The host stands for itself as "host". A pair is probed at the target's address on the first network
they share, else at its first address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from netmodel.probe import sandbox
from netmodel.probe.echo import Echo
from netmodel.probe.target import NoAim, addresses_of
from netmodel.probe.tcp import Syn
from netmodel.probe.view import HOST, Node, View, parse
from netmodel.probe.volley import Pair, Shot, volley
from netmodel.project import Expectation

TILE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One pair.

    Args:
        kind: "reached"; "closed" (tcp: a RST); "silent"; "refused" (an ICMP error, or the source's own
            kernel would not send); "unknown" (could not be asked); "self".
    """

    kind: Literal["reached", "closed", "silent", "refused", "unknown", "self"]
    address: str = ""
    rtt_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """cells[i][j] is how names[i] reaches names[j]."""

    what: str
    names: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    took_s: float


def matrix(
    view: Mapping[str, Any],
    *,
    via: Literal["icmp", "tcp"] = "icmp",
    port: int = 0,
    family: Literal[0, 4, 6] = 0,
    host: bool = True,
) -> Matrix:
    """Probe every pair, all at once.

    Args:
        view: What GET /netmodel/projects/NAME answers.
        port: For tcp.
        family: 0 takes IPv4 where the target has it.
        host: Give the host a row and a column.
    """
    began = monotonic()
    sandbox.allow_many_sockets()
    parsed = parse(view)
    nodes = [*([HOST] if host else []), *parsed.nodes]
    cells: dict[tuple[int, int], Cell] = {}
    pairs: dict[tuple[int, int], Pair] = {}
    for i, j in _tiled(len(nodes)):
        aim = Cell(kind="self") if i == j else _aim(parsed, nodes[i], nodes[j], family)
        if isinstance(aim, Cell):
            cells[i, j] = aim
        else:
            pairs[i, j] = aim
    shots = volley(list(pairs.values()), Syn(port) if via == "tcp" else Echo())
    cells |= {at: _cell(pair, shots[pair]) for at, pair in pairs.items()}
    return Matrix(
        what=f"tcp {port}" if via == "tcp" else "icmp",
        names=tuple(node.name for node in nodes),
        cells=tuple(tuple(cells[i, j] for j in range(len(nodes))) for i in range(len(nodes))),
        took_s=monotonic() - began,
    )


def _tiled(size: int) -> Iterator[tuple[int, int]]:
    """All pairs, both directions of one side by side and few nodes at a time: they share neighbour entries."""
    blocks = [range(start, min(start + TILE, size)) for start in range(0, size, TILE)]
    for index, rows in enumerate(blocks):
        for columns in blocks[index:]:
            for i in rows:
                for j in columns:
                    if i <= j:
                        yield i, j
                    if i < j:
                        yield j, i


def _aim(view: View, source: Node, target: Node, family: Literal[0, 4, 6]) -> Cell | Pair:
    for node in (source, target):
        if not node.running:
            return Cell(kind="unknown", reason=f"{node.name} does not run ({node.state})")
    wish = Expectation(source=source.name, target=target.name, reachable=True, family=family)
    try:
        address = addresses_of(view, source, target, wish)[0]
    except NoAim as error:
        return Cell(kind="unknown", reason=str(error))
    return Pair(netns=source.netns, address=address)


def _cell(pair: Pair, shot: Shot) -> Cell:
    return Cell(kind=shot.kind, address=str(pair.address), rtt_s=shot.rtt_s, reason=shot.reason)
