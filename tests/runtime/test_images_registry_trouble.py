"""Pull and push with servers in between that go wrong as the world does, and pulls that are stopped and killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from runtime.images import BlobDamaged, Images
from runtime.images.distribution import attempts
from runtime.images.registry import NotInRegistry, RegistryFailed
from tests.runtime.registry_lab import BIG, Told, pull, pushed
from tests.runtime.test_images_load import STACK, mounted, small_disk
from tests.support.box import Box
from tests.support.registry import (
    Server,
    answer,
    forward,
    in_between,
    needs_registry,
)
from tests.support.tars import layer, member, oci_archive
from tests.support.wait import eventually

pytestmark = [needs_registry, pytest.mark.kernel]


def test_what_is_not_there_is_not_found(other: Images, server: Server) -> None:
    with pytest.raises(NotInRegistry, match=r"has no lab/missing:1"):
        pull(other, f"{server.address}/lab/missing:1")


def test_a_download_goes_on_where_it_broke_off(
    store: Images, other: Images, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_FIRST_S", 0.001)
    image = pushed(store, server, oci_archive([BIG]))
    blob = store.find(image.id).layers[0].blob
    ranges: list[str | None] = []
    passed = 0

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        nonlocal passed
        if not asked.path.endswith(blob):
            return False
        ranges.append(asked.headers.get("Range"))
        passed += forward(asked, server.address, cut_after=600_000)
        return True

    with in_between(server.address, handle) as address:
        pulled = pull(other, f"{address}/lab/app:1")

    assert pulled.id == image.id
    assert len(ranges) == 1 + store.blobs.size(blob) // 600_000  # more often than it may fail in a row
    assert passed == store.blobs.size(blob)  # no byte came twice
    assert ranges[1] == "bytes=600000-"


@pytest.mark.parametrize("damaged", [False, True])
def test_a_later_pull_takes_up_what_an_earlier_one_left(
    store: Images, other: Images, server: Server, damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_FIRST_S", 0.001)
    image = pushed(store, server, oci_archive([BIG]))
    blob = store.find(image.id).layers[0].blob
    content = store.blobs.path(blob).read_bytes()
    with other.blobs.downloading(blob) as (descriptor, _):
        os.write(descriptor, b"x" * 1_000_000 if damaged else content[:1_000_000])
    told = Told()

    assert pull(other, f"{server.address}/lab/app:1", tell=told).id == image.id

    first = next(current for status, _, current, _ in told.lines if status == "Downloading")
    assert first > 1_000_000
    assert os.listdir(other.blobs.path(blob).parents[2] / "partial") == []


def test_a_blob_that_is_another_is_refused_and_not_kept(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server, oci_archive([BIG]))
    blob = store.find(image.id).layers[0].blob
    bad = bytearray(store.blobs.path(blob).read_bytes())
    bad[1000] ^= 1

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if not asked.path.endswith(blob):
            return False
        answer(asked, 200, bytes(bad))
        return True

    with in_between(server.address, handle) as address:
        with pytest.raises(BlobDamaged, match=blob):
            pull(other, f"{address}/lab/app:1")
        assert not other.blobs.has(blob)
        assert other.list()[1:] == ()
    assert pull(other, f"{server.address}/lab/app:1").id == image.id


def test_a_manifest_that_is_another_is_refused(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    manifest = store.find(image.id).manifest
    bad = store.blobs.read(manifest).replace(b'"size"', b'"Size"')

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if "/manifests/" not in asked.path:
            return False
        answer(asked, 200, bad, Content_Type="application/vnd.oci.image.manifest.v1+json")
        return True

    with in_between(server.address, handle) as address, pytest.raises(BlobDamaged):
        pull(other, f"{address}/lab/app@{manifest}")


def test_an_endless_blob_and_an_endless_manifest_are_cut_off(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    blob = store.find(image.id).layers[0].blob

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if asked.path.endswith("manifests/endless"):
            answer(asked, 200, bytes(5 << 20))
            return True
        if asked.path.endswith(blob):
            answer(asked, 200, bytes(5 << 20))
            return True
        return False

    with in_between(server.address, handle) as address:
        with pytest.raises(RegistryFailed, match="few are due"):
            pull(other, f"{address}/lab/app:endless")
        with pytest.raises(BlobDamaged, match="more than the manifest says"):
            pull(other, f"{address}/lab/app:1")


def test_a_registry_that_is_busy_is_asked_again(
    store: Images, other: Images, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_FIRST_S", 0.001)
    image = pushed(store, server)
    refusals = {"manifests": [503, 429], "blobs": [500]}

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        for part, statuses in refusals.items():
            if f"/{part}/" in asked.path and statuses:
                answer(asked, statuses.pop(), b'{"errors": [{"message": "busy"}]}')
                return True
        return False

    with in_between(server.address, handle) as address:
        assert pull(other, f"{address}/lab/app:1").id == image.id


def test_a_registry_that_is_down_is_named(other: Images, host: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_FIRST_S", 0.001)
    with pytest.raises(RegistryFailed, match=r"127\.0\.0\.1:9: it cannot be reached \(Connection refused\)"):
        pull(other, "127.0.0.1:9/lab/app:1")


def test_a_full_disk_ends_a_pull_and_leaves_room_again(store: Images, server: Server) -> None:
    image = pushed(store, server, oci_archive([BIG]))
    with small_disk("2m") as disk:
        small = Images(disk / "images")
        with pytest.raises(OSError, match="No space left"):
            pull(small, f"{server.address}/lab/app:1")
        assert os.path.getsize(next((disk / "images/partial").iterdir())) == 0
        small.prune()
        assert os.listdir(disk / "images/partial") == []
    with small_disk("8m") as disk:
        assert pull(Images(disk / "images"), f"{server.address}/lab/app:1").id == image.id


def test_a_pull_that_is_stopped_keeps_whole_layers(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server, oci_archive([*STACK, BIG]))

    class Enough(Exception):
        pass

    class Stops(Told):
        def __call__(self, *, status: str, id: str = "", current: int = 0, total: int = 0) -> None:  # noqa: A002
            super().__call__(status=status, id=id, current=current, total=total)
            if status == "Downloading" and current > 1 << 20:
                raise Enough

    with pytest.raises(Enough):
        pull(other, f"{server.address}/lab/app:1", tell=Stops())
    assert other.list()[1:] == ()

    told = Told()
    assert pull(other, f"{server.address}/lab/app:1", tell=told).id == image.id
    assert sum(line[0] == "Already exists" for line in told.lines) >= 1
    assert next(line[2] for line in told.lines if line[0] == "Downloading") > 1 << 20


PULLER = """
import sys
from pathlib import Path
from runtime.images import Images, Reference
from runtime.images.distribution import Pull
from runtime.images.registry import Registries, Transport
Pull(Images(Path(sys.argv[1])), Transport(Registries())).run(Reference.parse(sys.argv[2]))
print("done", flush=True)
"""


def test_a_pull_that_is_killed_anywhere_leaves_nothing_half_made(store: Images, server: Server, tmp_path: Path) -> None:
    layers = [layer(member(f"big{n}", content=random.Random(n).randbytes(1 << 20))) for n in range(4)]
    image = pushed(store, server, oci_archive([*STACK, *layers]))
    place, name = tmp_path / "killed", f"{server.address}/lab/app:1"
    whole: set[str] = set()
    for number in range(12):
        process = subprocess.Popen([sys.executable, "-c", PULLER, str(place), name], stdout=subprocess.PIPE)
        deadline = time.monotonic() + 0.15 + number * 0.03
        while time.monotonic() < deadline and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        seen = Images(place)
        assert whole <= set(seen.blobs.list())
        whole = set(seen.blobs.list())
        for blob in whole:
            assert seen.blobs.verify(blob)
        for found in seen.list()[1:]:
            with mounted(found) as root:
                assert (root / "big3").stat().st_size == 1 << 20

    assert pull(Images(place), name).id == image.id
    eventually(lambda: not [one for one in os.listdir(place / "layers") if one.startswith(".")])
