"""A filter that decides the same with a third of the instructions.

The kernel checks and translates each instruction at every start of a container, so their number is
what a filter costs. libseccomp tests number after number; most neighbours fare alike, so here a
binary search over ranges of numbers does. What also looks at arguments is taken over as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_STEP = struct.Struct("=HBBI")  # opcode, jump if true, jump if false, value
_LOAD, _GO, _EQUAL, _ABOVE, _FROM, _ANSWER = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_FAR = 255
_MOST = 1 << 32

Step = tuple[int, int, int, int]
Outcome = int | tuple[Step, ...]  # what is answered, or the instructions that look at the arguments


class _Strange(Exception):
    """The program does something we do not follow."""


def compact(program: bytes) -> bytes:
    """An equal program; the same one where it is not understood or cannot be made smaller."""
    steps = list(_STEP.iter_unpack(program))
    try:
        smaller = _Writer().whole(_tables(steps))
    except _Strange:
        return program
    return b"".join(_STEP.pack(*step) for step in smaller) if len(smaller) < len(steps) else program


# --- reading: what the program does, as a table of ranges for each architecture -----------------


@dataclass(frozen=True, slots=True)
class _Table:
    """Args:
    architecture: None is any other.
    rows: The first number of each range, ascending from 0, and what happens there.
    """

    architecture: int | None
    rows: tuple[tuple[int, Outcome], ...]


def _tables(steps: Sequence[Step]) -> list[_Table]:
    architectures, edges = _compared(steps)
    other = next(value for value in range(1, len(architectures) + 2) if value not in architectures)
    return [
        *(_Table(value, _rows(steps, value, edges)) for value in architectures),
        _Table(None, _rows(steps, other, edges)),
    ]


def _compared(steps: Sequence[Step]) -> tuple[list[int], list[int]]:
    """The architectures that make a difference, and the numbers from which on something may differ."""
    architectures, edges = set(), {0}
    loaded: list[set[int]] = [set() for _ in steps]  # at each step, what may have been loaded last
    for at, (op, _, _, k) in enumerate(steps):
        if op in (_EQUAL, _ABOVE, _FROM) and _NUMBER_AT in loaded[at]:
            edges.update((k, k + 1))
        if op in (_EQUAL, _ABOVE, _FROM) and _ARCHITECTURE_AT in loaded[at]:
            if op != _EQUAL:
                raise _Strange
            architectures.add(k)
        for after in _after(at, steps[at]):
            loaded[after] |= {k} if op == _LOAD else loaded[at]
    return sorted(architectures), sorted(edges - {_MOST})


def _rows(steps: Sequence[Step], architecture: int, edges: Sequence[int]) -> tuple[tuple[int, Outcome], ...]:
    rows: list[tuple[int, Outcome]] = []
    for number in edges:
        outcome = _outcome(steps, architecture, number)
        if not rows or rows[-1][1] != outcome:
            rows.append((number, outcome))
    return tuple(rows)


def _outcome(steps: Sequence[Step], architecture: int, number: int) -> Outcome:
    """Follow the program until it answers or looks at an argument."""
    at, value = 0, 0
    while True:
        op, yes, no, k = steps[at]
        if op == _ANSWER:
            return k
        if op == _LOAD:
            if k not in (_NUMBER_AT, _ARCHITECTURE_AT):
                return _fragment(steps, at)
            value = architecture if k == _ARCHITECTURE_AT else number
            at += 1
        elif op == _GO:
            at += 1 + k
        elif op in (_EQUAL, _ABOVE, _FROM):
            holds = value == k if op == _EQUAL else value > k if op == _ABOVE else value >= k
            at += 1 + (yes if holds else no)
        else:
            raise _Strange


def _fragment(steps: Sequence[Step], first: int) -> tuple[Step, ...]:
    """The instructions that can be reached from one on, as a program of their own."""
    reached = {first}
    for at in range(first, len(steps)):
        if at in reached:
            reached.update(_after(at, steps[at]))
    places = {at: place for place, at in enumerate(sorted(reached))}
    return tuple(_moved(steps[at], at, places) for at in sorted(reached))


def _after(at: int, step: Step) -> tuple[int, ...]:
    op, yes, no, k = step
    if op == _ANSWER:
        return ()
    if op == _GO:
        return (at + 1 + k,)
    return (at + 1 + yes, at + 1 + no) if op & 0x07 == _GO else (at + 1,)


def _moved(step: Step, at: int, places: dict[int, int]) -> Step:
    op, yes, no, k = step
    here = places[at] + 1
    if op == _GO:
        return op, 0, 0, places[at + 1 + k] - here
    if op & 0x07 == _GO:
        return op, places[at + 1 + yes] - here, places[at + 1 + no] - here, k
    return step


# --- writing: from the end to the beginning, so that each jump knows where it leads --------------


class _Writer:
    """Places are counted from the program's end, since that is what is known first."""

    def __init__(self) -> None:
        self._backwards: list[Step] = []
        self._ends: dict[Outcome, int] = {}
        self._trees: dict[tuple[tuple[int, Outcome], ...], int] = {}

    def whole(self, tables: Sequence[_Table]) -> list[Step]:
        """The program for all architectures; the last table is for those that have none."""
        places = [self._table(table.rows) for table in reversed(tables)][::-1]
        target = places[-1]
        for table, place in reversed(list(zip(tables[:-1], places[:-1], strict=True))):
            assert table.architecture is not None
            target = self._branch(_EQUAL, table.architecture, place, target)
        self._near(target)
        self._put((_LOAD, 0, 0, _ARCHITECTURE_AT))
        return self._backwards[::-1]

    def _table(self, rows: tuple[tuple[int, Outcome], ...]) -> int:
        if len(rows) == 1:
            return self._end(rows[0][1])
        if rows not in self._trees:
            self._near(self._tree(rows))
            self._trees[rows] = self._put((_LOAD, 0, 0, _NUMBER_AT))
        return self._trees[rows]

    def _tree(self, rows: Sequence[tuple[int, Outcome]]) -> int:
        if len(rows) == 1:
            return self._end(rows[0][1])
        if len(rows) == 3 and rows[0][1] == rows[2][1] and rows[2][0] == rows[1][0] + 1:
            return self._branch(_EQUAL, rows[1][0], self._end(rows[1][1]), self._end(rows[0][1]))
        middle = len(rows) // 2
        above, below = self._tree(rows[middle:]), self._tree(rows[:middle])
        return self._branch(_FROM, rows[middle][0], above, below)

    def _end(self, outcome: Outcome) -> int:
        """An answer, or the instructions that look at arguments: used again if it is near enough."""
        place = self._ends.get(outcome)
        if place is None or (isinstance(outcome, int) and len(self._backwards) - place > _FAR // 2):
            steps = [(_ANSWER, 0, 0, outcome)] if isinstance(outcome, int) else outcome
            for step in reversed(steps):
                place = self._put(step)
            assert place is not None
            self._ends[outcome] = place
        return place

    def _branch(self, op: int, value: int, yes: int, no: int) -> int:
        # Each detour written moves the other target one step further away.
        if len(self._backwards) - no > _FAR - 1:
            no = self._go(no)
        if len(self._backwards) - yes > _FAR:
            yes = self._go(yes)
        return self._put((op, self._distance(yes), self._distance(no), value))

    def _near(self, place: int) -> None:
        """Make what is written next go on there."""
        if self._distance(place):
            self._go(place)

    def _go(self, place: int) -> int:
        return self._put((_GO, 0, 0, self._distance(place)))

    def _distance(self, place: int) -> int:
        return len(self._backwards) - place

    def _put(self, step: Step) -> int:
        self._backwards.append(step)
        return len(self._backwards)
