"""Taking in an image of 200 MB: from an archive and from a registry on loopback, turn by turn in all engines.

All are asked through their command lines and return when the image can be used; each has storage of its own
on the same file system. Processor seconds are told beside the time, for here a busy machine lies most.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.archive import write_files
from bench.daemon_rows import command
from bench.engine import Engine
from bench.measure import Clock

LOAD, LOAD_CPU = "load an image of 200 MB", "load an image of 200 MB, processor"
PULL = "pull an image of 200 MB"
NAME = "bench/files:1"

_TICKS_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Store:
    """Where images are taken in.

    Args:
        run: Its command line.
        processor_s: What it has used by now.
        settle: Returns when nothing is left of what was removed.
        over_http: What its command line wants for a registry without TLS.
    """

    run: Callable[..., str]
    processor_s: Callable[[], float]
    settle: Callable[[], None] = lambda: None
    over_http: Sequence[str] = ()


def store_of(engine: Engine) -> Store:
    """A daemon's. Its command line's own share, which is to pass the archive on, is told by none of them."""
    directory = engine.socket.parent

    def settle() -> None:
        # Ours deletes in the background; that must not be the next one's burden.
        machine.until(lambda: not any(directory.glob("*/.trash/*")), 60, "what was removed is not deleted")

    def processor_s() -> float:
        return sum(_spent_s(pid) for pid in engine.processes())

    return Store(lambda *arguments: command(*engine.cli, *arguments), processor_s, settle)


def children_s() -> float:
    """What those used that ended: podman is its command line."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_loading(directory: Path, stores: Mapping[str, Store], clocks: Mapping[str, Clock], rounds: int) -> None:
    archive = directory / "files.tar"
    write_files(archive, NAME, 100 if rounds > 1 else 10)
    for _ in range(rounds):
        for column, store in stores.items():
            with clocks[column].guarded(LOAD, LOAD_CPU):
                _load(store, archive, clocks[column])
    try:
        with _registry(directory / "registry") as address:
            _measure_pulls(f"{address}/{NAME}", archive, stores, clocks, rounds)
    except machine.Unavailable as error:
        for column in stores:
            clocks[column].fail(str(error), PULL)


def _measure_pulls(
    name: str, archive: Path, stores: Mapping[str, Store], clocks: Mapping[str, Clock], rounds: int
) -> None:
    _give_away(archive, stores, name)
    for _ in range(rounds):
        for column, store in stores.items():
            with clocks[column].guarded(PULL):
                with clocks[column].time(PULL, per=1000):
                    store.run("pull", "-q", *store.over_http, name)
                _remove(store, name)


def _load(store: Store, archive: Path, clock: Clock) -> None:
    before = store.processor_s()
    with clock.time(LOAD, per=1000):
        store.run("load", "-q", "-i", str(archive))
    clock.add(LOAD_CPU, store.processor_s() - before)
    _remove(store, NAME)


def _remove(store: Store, name: str) -> None:
    store.run("rmi", "-f", name)
    store.settle()


def _give_away(archive: Path, stores: Mapping[str, Store], name: str) -> None:
    """The first that is there fills the registry."""
    store = next(iter(stores.values()))
    store.run("load", "-q", "-i", str(archive))
    store.run("tag", NAME, name)
    store.run("push", "-q", *store.over_http, name)
    _remove(store, name)
    _remove(store, NAME)


def _spent_s(pid: int) -> float:
    """With what its children used that ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS_S
    return 0.0


@contextmanager
def _registry(directory: Path) -> Iterator[str]:
    """Debian's, at the address that is yielded.

    Raises:
        Unavailable: It is not installed.
    """
    program = machine.need("registry")
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = directory / "config.yml"
    configuration.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/storage}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(configuration)], stdout=log, stderr=log)
    try:
        machine.until(lambda: _answers(address), 10, "the registry does not answer")
        yield address
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v2/", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
