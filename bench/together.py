"""What is measured of all engines at once, turn by turn, so that the machine's noise hits them alike."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench import dockerd, loading, ours, podman, variants
from bench.engine import Engine
from bench.layers import measure_layers
from bench.measure import Clock
from bench.place import place
from bench.rows import OURS
from bench.twins import NETWORKS, PORTS, Start, measure_twins

PODMAN = "podman"
_MANY_NETWORKS = ("--default-address-pool=base=10.128.0.0/9,size=24",)  # it has pools for 31 otherwise
_NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false")


def measure_together(directory: Path, clocks: Mapping[str, Clock], repetitions: int) -> None:
    """Args:
    clocks: Of the columns that can be measured here.
    """
    _variants(directory, clocks, max(3, repetitions // 2))
    _images(directory, clocks, 1 if repetitions < 10 else 5)
    starts = {column: start for column, start in _starts(directory).items() if column in clocks}
    for kind in (PORTS, NETWORKS):
        measure_twins(kind, starts, clocks, max(3, repetitions // 2))


def _starts(directory: Path) -> dict[str, Start]:
    return {
        OURS: lambda name, netns: ours.running(directory, name, netns),
        dockerd.COLUMN: lambda name, netns: dockerd.running(directory, name, netns, *_MANY_NETWORKS),
    }


def _variants(directory: Path, clocks: Mapping[str, Clock], rounds: int) -> None:
    runners: dict[str, variants.Runner] = {}
    with ExitStack() as stack:
        for column, start in _starts(directory).items():
            if column in clocks:
                with clocks[column].guarded(*variants.VARIANTS):
                    engine = stack.enter_context(start(f"variants-{column}", stack.enter_context(place())))
                    runners[column] = variants.ApiRunner(engine.api, engine.image, userns=column == OURS)
        if PODMAN in clocks:
            with clocks[PODMAN].guarded(*variants.VARIANTS):
                runners[PODMAN] = stack.enter_context(podman.running(directory, "variants-podman"))
        variants.measure_variants(runners, clocks, rounds)


def _images(directory: Path, clocks: Mapping[str, Clock], rounds: int) -> None:
    """All in our own network, where the registry is; nobody's containers need theirs."""
    engines: dict[str, AbstractContextManager[Engine]] = {
        OURS: ours.running(directory, "images-ours"),
        dockerd.COLUMN: dockerd.running(directory, "images-dockerd", None, *_NO_NETWORK),
    }
    rows = (loading.LOAD, loading.LOAD_CPU, loading.PULL)
    stores: dict[str, loading.Store] = {}
    with ExitStack() as stack:
        for column, engine in engines.items():
            if column in clocks:
                with clocks[column].guarded(*rows):
                    started = stack.enter_context(engine)
                    stores[column] = loading.store_of(started)
                    if column == OURS:
                        measure_layers(directory, started, clocks[column], 10 if rounds > 1 else 3)
        if PODMAN in clocks:
            with clocks[PODMAN].guarded(*rows):
                program = stack.enter_context(podman.running(directory, "images-podman"))
                stores[PODMAN] = loading.Store(program, loading.children_s, over_http=("--tls-verify=false",))
        loading.measure_loading(directory, stores, clocks, rounds)
