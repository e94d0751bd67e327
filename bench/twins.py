"""Two of each engine side by side: one with a single published port, the other with ever more ports or networks.

What is looked for is a few percent, and the machine's own speed changes by more than that. So turns are short and
many, both are asked in each, in changing order, all engines in the same turns, and a ratio is of two neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter

from bench.engine import Engine
from bench.measure import Clock
from bench.place import place
from bench.plain import Route, outside
from bench.senders import PORT, Connections, connecting, netns_of

NEXT_PORTS = list(range(31_000, 31_020, 2))
_STEPS = 20
_TURN_S = 0.05
_TURNS = 10  # of connections, for each that publishes
_SLOW_S = 0.5

Start = Callable[[str, Path], AbstractContextManager[Engine]]


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is ever more of.

    Args:
        add: Bring an engine from one number of them to another.
        publishes: Whether it is also asked what publishing more ports costs.
    """

    noun: str
    levels: tuple[int, ...]
    add: Callable[[Engine, int, int], None]
    publishes: bool = False

    def of(self, level: int) -> str:
        return f"{level} {self.noun}{'s' * (level > 1)}"

    def rate(self, level: int) -> str:
        return f"new connections, {self.of(level)}"

    def first_byte(self, level: int) -> str:
        return f"first byte, median, {self.of(level)}"

    def late_byte(self, level: int) -> str:
        return f"first byte, p99, {self.of(level)}"

    def flat(self, level: int) -> str:
        return f"connections, {self.of(level)}"

    def next(self, level: int) -> str:
        return f"run with 10 ports, {self.of(level)} published"

    def next_flat(self, level: int) -> str:
        return f"the next publish, {self.of(level)}"

    def rows(self, level: int) -> tuple[str, ...]:
        found = (self.rate(level), self.first_byte(level), self.late_byte(level), self.flat(level))
        return (*found, self.next(level), self.next_flat(level)) if self.publishes else found


def _publish(engine: Engine, count: int, to: int) -> None:
    # Every other one, so that no range holds them all; and port 7,000 is the first.
    engine.api.run(f"publishes{to}", engine.image, range(10_000 + 2 * count, 10_000 + 2 * to, 2))


def _create_networks(engine: Engine, count: int, to: int) -> None:
    for number in range(count, to):
        engine.api.create_network(f"many{number}")


PORTS = Kind("port", (1, 100, 1_000, 10_000), _publish, publishes=True)
NETWORKS = Kind("network", (1, 100, 500), _create_networks)


@dataclass(frozen=True, slots=True)
class Side:
    engine: Engine
    connect: Callable[[float], Connections]

    def publish_s(self) -> float:
        """Start a container with ten more ports, and remove it again."""
        began = perf_counter()
        container = self.engine.api.run("next", self.engine.image, NEXT_PORTS)
        took = perf_counter() - began
        self.engine.api.remove(container)
        return took


@dataclass(slots=True)
class Twins:
    """Args:
    count: How many the second one has.
    """

    clock: Clock
    few: Side
    many: Side
    count: int = 1


def measure_twins(kind: Kind, starts: Mapping[str, Start], clocks: Mapping[str, Clock], rounds: int) -> None:
    """Bring all engines to each level and measure them there.

    Args:
        starts: By column, in the order of the turns.
    """
    limit_s = 4 if rounds < 5 else 60
    everything = [name for level in kind.levels for name in kind.rows(level)]
    with ExitStack() as stack:
        all_twins = []
        for column, start in starts.items():
            with clocks[column].guarded(*everything):
                all_twins.append(stack.enter_context(_twins(kind, column, start, clocks[column])))
        for level in kind.levels:
            all_twins = [twins for twins in all_twins if _bring_to(twins, kind, level, limit_s)]
            for turn in range(rounds * _TURNS):
                for twins in all_twins:
                    with twins.clock.guarded(*kind.rows(level)):
                        _take_turn(twins, kind, level, turn)


@contextmanager
def _twins(kind: Kind, column: str, start: Start, clock: Clock) -> Iterator[Twins]:
    with ExitStack() as stack:
        few, many = (_side(f"{which}-{kind.noun}s-{column}", start, stack) for which in ("few", "many"))
        yield Twins(clock, few, many)


def _side(name: str, start: Start, stack: ExitStack) -> Side:
    netns = stack.enter_context(place())
    engine = stack.enter_context(start(name, netns))
    client = stack.enter_context(outside(netns, "10.97.0"))
    server = engine.api.run("serves", engine.image, [PORT])
    route = Route(client, netns_of(engine.api, server), "10.97.0.1")
    return Side(engine, stack.enter_context(connecting(route)))


def _bring_to(twins: Twins, kind: Kind, level: int, limit_s: float) -> bool:
    """Whether the second one has as many; where that takes too long the table says how far it came."""
    deadline = monotonic() + limit_s
    with twins.clock.guarded(*kind.rows(level)):
        while twins.count < level:
            if monotonic() > deadline:
                told = f"after {limit_s:g} s it had {kind.of(twins.count)}"
                higher = (row for one in kind.levels if one >= level for row in kind.rows(one))
                twins.clock.give_up(told, *higher)
                return False
            to = min(level, twins.count + max(50, level // _STEPS))
            kind.add(twins.many.engine, twins.count, to)
            twins.count = to
        return True
    return False


def _take_turn(twins: Twins, kind: Kind, level: int, turn: int) -> None:
    order = (twins.few, twins.many) if turn % 2 else (twins.many, twins.few)
    found = {id(side): side.connect(_TURN_S) for side in order}
    few, many = found[id(twins.few)], found[id(twins.many)]
    clock = twins.clock
    clock.add(kind.rate(level), many.rate)
    clock.add(kind.first_byte(level), many.median_us)
    clock.add(kind.late_byte(level), many.p99_us)
    clock.add(kind.flat(level), many.rate / few.rate)
    if kind.publishes and turn % _TURNS == 0:
        _publish_more(twins, kind, level, turn // _TURNS)


def _publish_more(twins: Twins, kind: Kind, level: int, turn: int) -> None:
    order = (twins.few, twins.many) if turn % 2 else (twins.many, twins.few)
    name = kind.next(level)
    known = twins.clock.samples.get(name)
    if turn and known is not None and known.values and known.values[0] > _SLOW_S * 1000:
        return  # once is enough to see what is slow
    took = {id(side): side.publish_s() for side in order}
    twins.clock.add(name, took[id(twins.many)] * 1000)
    twins.clock.add(kind.next_flat(level), took[id(twins.few)] / took[id(twins.many)])
