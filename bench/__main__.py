"""`python -m bench`: netmodel beside its peers and above the floor, in one run on one machine.

    --only netmodel,floor   some of the columns
    --quick                 few repetitions, small topologies
    --json                  JSON to stdout instead of the table

Every column is measured alone, the others stopped; then what is best compared turn by turn, together
(together.py). Peers are installed with apt-get if they are missing, started privately and removed; one
that is missing or fails says so in the table. Results are also written to bench/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import dockerd, machine, mininet, ours, podman, table
from bench.measure import Clock, Samples
from bench.rows import COLUMNS, FLOOR, OURS, rows
from bench.together import measure_together

RESULTS = Path(__file__).with_name("results")
NEEDS = {
    OURS: ["registry"],
    "dockerd": ["dockerd", "runc", "registry"],
    "podman": ["podman", "runc", "netavark", "aardvark", "registry"],
    "Mininet": ["mininet", "brctl"],
}


def main() -> int:
    options = _parse()
    if os.geteuid() != 0:
        print("error: the bench makes namespaces and starts engines\nhint: run it as root", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped then, too
    machine.install(["busybox", *(name for column in options.only for name in NEEDS.get(column, ()))])
    machine.go_private()
    clocks: dict[str, Clock] = {}
    missing: dict[str, str] = {}
    with machine.workshop() as directory:
        for column, measure in _measures(directory, options).items():
            if column in options.only:
                print(f"measuring {column}", file=sys.stderr, flush=True)
                clocks[column] = Clock()
                try:
                    measure(clocks[column])
                except Exception as error:
                    missing[column] = " ".join(str(error).split())[:300] or repr(error)
        print("measuring all of them together", file=sys.stderr, flush=True)
        there = {column: clock for column, clock in clocks.items() if column not in missing}
        try:
            measure_together(directory, there, options.repetitions)
        except Exception as error:
            missing["the rest of what is measured together"] = " ".join(str(error).split())[:300] or repr(error)
    results = {column: clock.samples for column, clock in clocks.items()}
    found = rows(options.sizes)
    told: dict[str, object] = {"machine": _machine(), "options": {"repetitions": options.repetitions}}
    told |= table.as_json(found, results, missing)
    _write(told)
    if options.json:
        print(json.dumps(told, indent=1))
    else:
        table.show(found, results, missing)
    return 0 if OURS not in missing else 1


def _measures(directory: Path, options: argparse.Namespace) -> dict[str, Callable[[Clock], None]]:
    return {
        FLOOR: lambda clock: _floor(directory, clock, options.repetitions, options.sizes),
        OURS: lambda clock: ours.measure(directory, clock, options.repetitions, options.sizes),
        "dockerd": lambda clock: dockerd.measure(directory, clock, options.repetitions),
        "podman": lambda clock: podman.measure(directory, clock, max(3, options.repetitions // 2)),
        # Half a minute for 500 nodes; a thousand say nothing new about it.
        "Mininet": lambda clock: mininet.measure(clock, [size for size in options.sizes if size <= 500]),
    }


def _floor(directory: Path, clock: Clock, repetitions: int, sizes: list[int]) -> None:
    place = directory / "floor"
    place.mkdir()
    (place / "image").symlink_to(directory / "image")
    arguments = [sys.executable, "-m", "bench.floor", str(place), str(repetitions), *map(str, sizes)]
    done = subprocess.run(arguments, cwd=RESULTS.parent.parent, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise machine.Unavailable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed")
    for name, values in json.loads(done.stdout).items():
        clock.samples[name] = Samples(values)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Netmodel beside its peers and above the floor.")
    parser.add_argument("--only", default=",".join(COLUMNS), help=f"columns of {', '.join(COLUMNS)}")
    parser.add_argument("--quick", action="store_true", help="few repetitions, small topologies")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    parser.add_argument("--sizes", help="nodes of the topologies, as in 10,100,500")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(COLUMNS):
        parser.error(f"no such column: {', '.join(sorted(unknown))}; there are {', '.join(COLUMNS)}")
    options.repetitions = 4 if options.quick else 20
    sizes = options.sizes or ("10,30" if options.quick else "10,100,500,1000")
    options.sizes = [int(size) for size in sizes.split(",")]
    return options


def _machine() -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": os.getloadavg()[0],
    }


def _write(told: dict[str, object]) -> None:
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    (RESULTS / f"{stamp}.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
