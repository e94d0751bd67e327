"""A hundred containers, then a thousand: what the next one costs, and what the engine's own processes weigh."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic

from bench import machine
from bench.engine import Engine
from bench.measure import Clock

COUNTS = (0, 100, 1_000)
PARTS = ("engine", "spawner", "nft worker")
NETWORKS = 10  # a Linux bridge has 1,024 ports at most
_HELD = "memory held"  # of no row
_CONTAINER_MB = 4  # of the kernel's memory and the program's, generously


def start(count: int) -> str:
    return f"run, {count} running"


def flat(count: int) -> str:
    return f"run, {count} running, time"


def weight(part: str, count: int) -> str:
    return f"memory, {part}, {count} running"


def share(count: int) -> str:
    return f"memory a container, {count} running"


def rows_of(count: int) -> tuple[str, ...]:
    of_none = (start(count), *(weight(part, count) for part in PARTS))
    return (*of_none, flat(count), share(count)) if count else of_none


def measure_standing(engine: Engine, clock: Clock, rounds: int, most: int, limit_s: float) -> None:
    """Start containers up to each of the counts.

    Args:
        most: The last count that is asked for.
        limit_s: An engine that takes longer to a count is asked no further.
    """
    made: list[str] = []
    counts = [count for count in COUNTS if count <= most]
    with clock.guarded(*(row for count in counts for row in rows_of(count))):
        networks = [engine.api.create_network(f"standing{number}") for number in range(NETWORKS)]
        try:
            engine.api.remove(engine.api.run("warmup", engine.image))
            for position, count in enumerate(counts):
                why = _too_small(count) or _start(engine, made, count, limit_s)
                if why:
                    clock.give_up(why, *(row for later in counts[position:] for row in rows_of(later)))
                    break
                _measure(engine, clock, rounds, count)
        finally:
            if len(made) < 200:  # more of them go with the engine
                for container in made:
                    engine.api.remove(container)
                for network in networks:
                    engine.api.remove_network(network)


def _start(engine: Engine, made: list[str], count: int, limit_s: float) -> str:
    """Until so many run; or why there are not."""
    deadline = monotonic() + limit_s
    while len(made) < count:
        if monotonic() > deadline:
            return f"after {limit_s:g} s {len(made)} were running"
        number = len(made)
        made.append(engine.api.run(f"stands{number}", engine.image, NetworkMode=f"standing{number % NETWORKS}"))
    return ""


def _measure(engine: Engine, clock: Clock, rounds: int, count: int) -> None:
    parts = engine.parts()
    for part in PARTS:
        if part in parts:
            clock.add(weight(part, count), machine.pss_mb(parts[part]))
    held = machine.memory_mb(engine.processes())
    clock.add(_HELD, held)
    for turn in range(rounds):
        with clock.time(start(count)):
            container = engine.api.run(f"next{turn}", engine.image, NetworkMode="standing0")
        engine.api.remove(container)
    if count:
        clock.add(share(count), (held - clock.samples[_HELD].values[0]) / count)
        now, first = clock.samples[start(count)].median, clock.samples[start(0)].median
        if now is not None and first:
            clock.add(flat(count), now / first)


def _too_small(count: int) -> str:
    """What this machine lacks for so many."""
    room_mb = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    if room_mb < count * _CONTAINER_MB:
        return f"{count} containers may take {count * _CONTAINER_MB} MB, and this machine has {room_mb} left"
    for limit in (Path("/proc/sys/kernel/threads-max"), Path("/proc/sys/kernel/pid_max"), *_pids_max()):
        with suppress(OSError, ValueError):  # "max", or not there
            most = int(limit.read_text())
            if most < 2 * count:
                return f"{count} containers and all else take up to {2 * count} processes, and {limit} says {most}"
    return ""


def _pids_max() -> list[Path]:
    """Of our own control group: where the engine's begin is its business, but the machine's limit is above us, too."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return [
        Path("/sys/fs/cgroup", controllers, path.lstrip("/"), "pids.max")
        for _, controllers, path in lines
        if controllers in ("", "pids")
    ]
