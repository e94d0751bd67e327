"""`python -m bench.images`: taking in an archive of 200 MB beside podman, and what ten layers cost at the launch.

    --repetitions N   of each (3)
    --json            JSON instead of the table

Both take in the same archive, in Docker's and OCI's form at once, through their command lines, into storage of
their own on the same file system; both return when the image can be used. Processor seconds are told beside the
time, because this is where a busy machine lies.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

from bench import machine
from bench.docker_api import DockerApi
from netmodel.client import Client
from netmodel.client.start import start_engine
from runtime.images import Images

SIZE = 200_000_000
_TREES = ("/usr/lib", "/usr/share", "/usr/bin")
_NETMODEL = str(Path(sys.executable).with_name("netmodel"))


@dataclass(slots=True)
class Row:
    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values)


def main() -> int:
    options = _parse()
    if os.geteuid() != 0:
        print("error: the bench makes namespaces and starts engines\nhint: run it as root", file=sys.stderr)
        return 2
    machine.install(["podman", "runc", "busybox"])
    machine.go_private()
    with machine.workshop() as directory:
        rows = [*_unpacking(directory, options.repetitions), *_launch(directory, options.repetitions * 10)]
    if options.json:
        print(json.dumps({row.name: {"unit": row.unit, "median": row.median, "values": row.values} for row in rows}))
        return 0
    for row in rows:
        print(f"{row.name:<46} {row.median:>9.2f} {row.unit}")
    return 0


# --- unpacking ----------------------------------------------------------------------------------


def _unpacking(directory: Path, repetitions: int) -> Iterator[Row]:
    files = directory / "files.tar"
    _pack_machine(files)
    for compression in ("", "gzip"):
        archive = _saved(directory, files, compression)
        kind = f"load 200 MB{', ' + compression if compression else ''}"
        for peer, load in (("netmodel", _ours(directory, archive)), ("podman", _podman(directory, archive))):
            took, spent = Row(f"{kind}: {peer}", "s"), Row(f"{kind}: {peer}, processor", "s")
            for number in range(repetitions):
                load(number, took, spent)
            yield from (took, spent)


def _pack_machine(target: Path) -> None:
    """What programs are made of: thousands of files of this machine, until it is enough."""
    total = 0
    with tarfile.open(target, "w") as tar:
        for tree in _TREES:
            for at, _, names in os.walk(tree):
                for name in sorted(names):
                    path = Path(at, name)
                    if path.is_symlink() or not path.is_file() or total + path.stat().st_size > SIZE:
                        continue
                    tar.add(path, recursive=False)
                    total += path.stat().st_size


def _saved(directory: Path, files: Path, compression: str) -> Path:
    """An image of one layer, as it is saved."""
    layer = files
    if compression:
        subprocess.run(["gzip", "-k", "-6", str(files)], check=True)
        layer = files.with_suffix(".tar.gz")
    store = Images(directory / f"store-{compression or 'plain'}")
    store.import_archive(layer, "bench/files:1")
    saved = directory / f"saved-{compression or 'plain'}.tar"
    with open(saved, "wb") as target:
        for piece in store.save(["bench/files:1"]):
            target.write(piece)
    store.drain()
    return saved


Load = Callable[[int, Row, Row], None]


def _ours(directory: Path, archive: Path) -> Load:
    def load(number: int, took: Row, spent: Row) -> None:
        root = directory / f"ours-{archive.stem}-{number}"
        client = _engine(root)
        before = _processor_s(client)
        began = perf_counter()
        _run(_NETMODEL, "--root", str(root), "--host", str(root / "e.sock"), "load", "-q", "-i", str(archive))
        took.values.append(perf_counter() - began)
        spent.values.append(_processor_s(client) - before)
        client.post("/netmodel/shutdown")

    return load


def _podman(directory: Path, archive: Path) -> Load:
    program = machine.need("podman")

    def load(number: int, took: Row, spent: Row) -> None:
        home = directory / f"p{archive.stem[-2:]}{number}"
        place = [f"--{name}={home}/{name[0]}" for name in ("root", "tmpdir")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = perf_counter()
        _run(program, *place, f"--runroot={home}/u", "--storage-driver=overlay", "load", "-q", "-i", str(archive))
        took.values.append(perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.values.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    return load


def _processor_s(client: Client) -> float:
    """Of the engine, without its children: the command line's own share is told by none of both."""
    pid = client.get("/netmodel/status")["pid"]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- launch -------------------------------------------------------------------------------------


def _launch(directory: Path, repetitions: int) -> Iterator[Row]:
    root = directory / "launch"
    client = _engine(root)
    api = DockerApi(root / "e.sock")
    try:
        for layers in (1, 10, 40):
            name = f"bench/layers{layers}:1"
            _load_layers(client, directory / "image", name, layers)
            row = Row(f"run -d, an image of {layers} layer{'s' * (layers > 1)}", "ms")
            for number in range(repetitions + 1):
                began = perf_counter()
                container = api.run(f"run{layers}-{number}", name)
                if number:  # the first one warms up
                    row.values.append((perf_counter() - began) * 1000)
                api.remove(container)
            yield row
    finally:
        client.post("/netmodel/shutdown")


def _load_layers(client: Client, tree: Path, name: str, count: int) -> None:
    """The bench's image, and layers that each add one file."""
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as tar:
        tar.add(tree, arcname=".")
    layers = [base.getvalue(), *(_one_file(number) for number in range(count - 1))]
    from tests.support.tars import docker_archive

    for _ in client.stream("POST", "/images/load", docker_archive(layers, [name])):
        pass


def _one_file(number: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(f"layer{number}"))
    return stream.getvalue()


# --- both ---------------------------------------------------------------------------------------


def _engine(root: Path) -> Client:
    root.mkdir()
    start_engine(str(root), str(root / "e.sock"))
    return Client(str(root / "e.sock"), str(root), start=False)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.images", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
