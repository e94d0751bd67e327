"""Pull and push against a real registry, with servers in between that go wrong as the world does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime.errors import InvalidSpec
from runtime.images import BadImage, BlobDamaged, Image, Images, InvalidImageName, Reference
from runtime.images.distribution import Pull, Push, attempts
from runtime.images.manifest import Platform
from runtime.images.registry import Credentials, NotAuthorized, NotInRegistry, Registries, RegistryFailed, Transport
from runtime.images.registry.errors import PlainRefused
from tests.runtime.test_images_load import SEEN, STACK, files, mounted, needs_skopeo, skopeo, small_disk
from tests.support.box import Box
from tests.support.registry import (
    PASSWORD,
    USER,
    Server,
    answer,
    basic,
    basic_header,
    forward,
    in_between,
    needs_registry,
    registry,
)
from tests.support.tars import digest, docker_archive, layer, member, oci_archive
from tests.support.wait import eventually

pytestmark = [needs_registry, pytest.mark.kernel]
ANNA = Credentials(username=USER, password=PASSWORD)
BIG = layer(member("big", content=random.Random(1).randbytes(3 << 20)))


@pytest.fixture
def store(tmp_path: Path) -> Images:
    return Images(tmp_path / "root/images")


@pytest.fixture
def other(tmp_path: Path) -> Images:
    """The store of somebody else."""
    return Images(tmp_path / "other/images")


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Box, Server]]:
    """A registry for all tests here, in a box."""
    box = Box("host")
    with box.entered(), registry(tmp_path_factory.mktemp("registry")) as running:
        yield box, running
    box.close()


@pytest.fixture
def host(lan: tuple[Box, Server]) -> Iterator[Box]:
    """Everybody's, because the registry is in it."""
    with lan[0].entered():
        yield lan[0]


@pytest.fixture
def server(host: Box, lan: tuple[Box, Server]) -> Server:
    return lan[1]


class Told:
    """What a pull or push said, and a way to stop it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, int, int]] = []

    def __call__(self, *, status: str, id: str = "", current: int = 0, total: int = 0) -> None:  # noqa: A002
        self.lines.append((status, id, current, total))

    def statuses(self) -> set[str]:
        return {line[0] for line in self.lines}


def pull(
    store: Images,
    name: str,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
    tell: Told | None = None,
    platform: Platform | None = None,
) -> Image:
    transport = Transport(registries or Registries(), timeout_s=5)
    try:
        return Pull(store, transport, credentials, tell).run(Reference.parse(name), platform)
    finally:
        transport.close()


def push(store: Images, name: str, credentials: Credentials | None = None, tell: Told | None = None) -> str:
    transport = Transport(Registries(), timeout_s=5)
    try:
        return Push(store, transport, credentials, tell).run(Reference.parse(name))
    finally:
        transport.close()


def pushed(store: Images, server: Server, archive: object = None, path: str = "lab/app:1") -> Image:
    """An image that the registry has."""
    (image,) = store.load(archive or oci_archive(STACK))  # type: ignore[arg-type]
    name = f"{server.address}/{path}"
    store.tag(image.id, name)
    push(store, name)
    return store.resolve(image.id)


# --- there and back --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [oci_archive, docker_archive])
def test_what_is_pushed_is_pulled_by_others(store: Images, other: Images, server: Server, make: object) -> None:
    image = pushed(store, server, make(STACK))  # type: ignore[operator]

    pulled = pull(other, f"{server.address}/lab/app:1")

    assert pulled.id == image.id
    assert pulled.names == (f"{server.address}/lab/app:1",)
    with mounted(pulled) as root:
        assert files(root) == SEEN


def test_a_digest_names_the_same_for_everybody(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    (by_digest,) = image.digests

    pulled = pull(other, by_digest)

    assert (pulled.id, pulled.names, pulled.digests) == (image.id, (), (by_digest,))
    assert other.resolve(by_digest).id == image.id


def test_a_layer_is_compressed_on_its_way_and_stays_the_same_layer(
    store: Images, other: Images, server: Server
) -> None:
    image = pushed(store, server, docker_archive([BIG]))
    record = store.find(image.id)

    assert record.layers[0].media_type.endswith("+gzip")
    assert store.catalog.needed_blobs() == set(store.blobs.list())  # the plain one is gone
    assert pull(other, f"{server.address}/lab/app:1").id == image.id


def test_a_second_push_and_a_second_pull_move_nothing(store: Images, other: Images, server: Server) -> None:
    pushed(store, server)
    again, told = Told(), Told()

    push(store, f"{server.address}/lab/app:1", tell=again)
    pull(other, f"{server.address}/lab/app:1")
    pull(other, f"{server.address}/lab/app:1", tell=told)

    assert "Layer already exists" in again.statuses()
    assert "Pushing" not in again.statuses()
    assert "Downloading" not in told.statuses()
    assert any(status.startswith("Status: Image is up to date") for status in told.statuses())


def test_a_layer_of_another_repository_there_is_mounted(store: Images, server: Server) -> None:
    pushed(store, server)
    told = Told()
    store.tag(f"{server.address}/lab/app:1", f"{server.address}/lab/copy:1")

    push(store, f"{server.address}/lab/copy:1", tell=told)

    assert "Mounted from lab/app" in told.statuses()
    assert server.tags("lab/copy") == ["1"]


def test_progress_counts_up_to_all_of_it(store: Images, other: Images, server: Server) -> None:
    pushed(store, server, oci_archive([BIG]))
    told = Told()

    pull(other, f"{server.address}/lab/app:1", tell=told)

    counted = [(current, total) for status, _, current, total in told.lines if status == "Downloading"]
    assert counted == sorted(counted)
    assert counted[-1][0] == counted[-1][1] > 3 << 20
    assert [line[0] for line in told.lines if line[1]][-1] == "Pull complete"


@needs_skopeo
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_pushes_what_we_pull_and_pulls_what_we_push(
    store: Images, other: Images, server: Server, tmp_path: Path, form: str
) -> None:
    image = pushed(store, server)
    name = f"docker://{server.address}/lab"

    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", "-f", form, f"{name}/app:1", f"{name}/theirs:1")
    theirs = pull(other, f"{server.address}/lab/theirs:1")

    with mounted(theirs) as root:
        assert files(root) == SEEN
    assert theirs.config == image.config
    push_back = f"{server.address}/lab/back:1"
    other.tag(theirs.id, push_back)
    push(other, push_back)
    assert json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{push_back}"))["Layers"]


def test_the_platform_is_picked_out_of_an_index(store: Images, other: Images, server: Server, tmp_path: Path) -> None:
    image = pushed(store, server)
    manifest = store.find(image.id).manifest
    kind = "application/vnd.oci.image"
    entries = [
        {
            "mediaType": f"{kind}.manifest.v1+json",
            "digest": manifest,
            "size": store.blobs.size(manifest),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in ("s390x", "amd64", "arm64")
    ]
    entries[0]["digest"] = digest(b"missing")
    index = json.dumps({"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": entries}).encode()

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if asked.path != "/v2/lab/app/manifests/many":
            return False
        answer(asked, 200, index, Content_Type=f"{kind}.index.v1+json", Docker_Content_Digest=digest(index))
        return True

    with in_between(server.address, handle) as address:
        pulled = pull(other, f"{address}/lab/app:many", platform=Platform("amd64"))
        with pytest.raises(BadImage) as refusal:
            pull(other, f"{address}/lab/app:many", platform=Platform("riscv64"))

    assert pulled.id == image.id
    assert pulled.digests == (f"{address}/lab/app@{digest(index)}",)
    assert "linux/amd64, linux/arm64, linux/s390x" in refusal.value.hint


# --- who may ---------------------------------------------------------------------------------


def test_name_and_password(store: Images, other: Images, host: Box, tmp_path: Path) -> None:
    place = tmp_path / "private"
    with registry(place, basic(place)) as server:
        (image,) = store.load(oci_archive(STACK))
        name = f"{server.address}/lab/app:1"
        store.tag(image.id, name)

        with pytest.raises(NotAuthorized, match="a name and a password") as refusal:
            push(store, name)
        assert f"credentials for {server.address}" in refusal.value.hint
        with pytest.raises(NotAuthorized):
            push(store, name, Credentials(username=USER, password="wrong"))

        push(store, name, ANNA)
        with pytest.raises(NotAuthorized):
            pull(other, name)
        assert pull(other, name, ANNA).id == image.id


def test_a_token_is_fetched_once_and_shown(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    asked_for: list[dict[str, list[str]]] = []

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if asked.path.startswith("/token"):
            asked_for.append(parse_qs(urlsplit(asked.path).query))
            right = asked.headers.get("Authorization") == basic_header()
            answer(asked, 200 if right else 401, b'{"token": "t0k3n", "expires_in": 300}' if right else b"{}")
            return True
        if asked.headers.get("Authorization") == "Bearer t0k3n":
            return False
        realm = f'Bearer realm="http://{asked.headers["Host"]}/token",service="lab",scope="repository:lab/app:pull"'
        answer(asked, 401, b"{}", WWW_Authenticate=realm)
        return True

    with in_between(server.address, handle) as address:
        pulled = pull(other, f"{address}/lab/app:1", ANNA)
        with pytest.raises(NotAuthorized):
            pull(other, f"{address}/lab/app:1", Credentials(username=USER, password="wrong"))

    assert pulled.id == image.id
    assert asked_for[0] == {"service": ["lab"], "scope": ["repository:lab/app:pull"], "account": [USER]}
    assert len(asked_for) == 2  # one each


def test_where_a_blob_is_redirected_to_does_not_learn_the_token(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    seen: list[str | None] = []

    def elsewhere(asked: BaseHTTPRequestHandler) -> bool:
        seen.append(asked.headers.get("Authorization"))
        return False

    with in_between(server.address, elsewhere) as storage:

        def handle(asked: BaseHTTPRequestHandler) -> bool:
            if not asked.headers.get("Authorization"):
                answer(asked, 401, b"{}", WWW_Authenticate='Basic realm="x"')
                return True
            if "/blobs/" not in asked.path:
                del asked.headers["Authorization"]
                return False
            answer(asked, 307, Location=f"http://{storage}{asked.path}")
            return True

        with in_between(server.address, handle) as address:
            assert pull(other, f"{address}/lab/app:1", ANNA).id == image.id

    assert seen
    assert set(seen) == {None}


# --- going wrong -----------------------------------------------------------------------------


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


# --- settings --------------------------------------------------------------------------------


def test_a_mirror_is_asked_first_and_need_not_work(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    asked: list[str] = []

    def mirror(request: BaseHTTPRequestHandler) -> bool:
        asked.append(request.path)
        assert "Authorization" not in request.headers
        return False

    with in_between(server.address, mirror) as address:
        registries = Registries(mirrors={"docker.io": ("http://127.0.0.1:9", f"http://{address}")})
        pulled = pull(other, "lab/app:1", ANNA, registries)

    assert pulled.id == image.id
    assert pulled.names == ("lab/app:1",)  # by the name that was asked for
    assert asked[0] == "/v2/lab/app/manifests/1"


def test_a_mirror_without_a_layer_is_helped_out(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    blob = store.find(image.id).layers[0].blob

    def mirror(request: BaseHTTPRequestHandler) -> bool:
        if request.path.endswith(blob):
            answer(request, 404, b"{}")
            return True
        return False

    with in_between(server.address, mirror) as address:
        registries = Registries(mirrors={server.address: (f"http://{address}",)})
        assert pull(other, f"{server.address}/lab/app:1", registries=registries).id == image.id


def test_plain_http_is_for_loopback_and_for_those_named(
    store: Images, other: Images, host: Box, server: Server
) -> None:
    image = pushed(store, server)
    host.run("ip", "address", "add", "10.9.8.7/32", "dev", "lo")

    with in_between(server.address, lambda _: False) as address:
        port = address.rpartition(":")[2]
        host.run("nft", "add table ip t; add chain ip t o { type nat hook output priority -100; }")
        host.run("nft", f"add rule ip t o ip daddr 10.9.8.7 tcp dport {port} dnat to 127.0.0.1")
        name = f"10.9.8.7:{port}/lab/app:1"
        with pytest.raises(RegistryFailed, match="does not speak TLS") as refusal:
            pull(other, name)
        with pytest.raises(PlainRefused):
            Transport(Registries()).request("GET", f"http://10.9.8.7:{port}/v2/")
        assert "registries.json" in refusal.value.hint
        for named in (f"10.9.8.7:{port}", "10.9.8.7", "10.0.0.0/8"):
            assert pull(other, name, registries=Registries(insecure=(named,))).id == image.id


def test_settings_that_are_wrong_are_told(tmp_path: Path) -> None:
    path = tmp_path / "registries.json"
    assert Registries.read(path) == Registries()
    path.write_text('{"mirrors": {"docker.io": ["https://mirror.lan"]}, "insecure": ["10.0.0.0/8"]}')
    assert Registries.read(path).is_insecure("10.1.2.3:5000")
    for text in ("{", "[]", '{"mirror": {}}', '{"mirrors": 1}', '{"insecure": 5}'):
        path.write_text(text)
        with pytest.raises(InvalidSpec, match=r"registries\.json"):
            Registries.read(path)


@pytest.mark.parametrize(
    ("text", "complete", "familiar"),
    [
        ("redis", "docker.io/library/redis:latest", "redis:latest"),
        ("lab/app:2", "docker.io/lab/app:2", "lab/app:2"),
        ("docker.io/redis", "docker.io/library/redis:latest", "redis:latest"),
        ("index.docker.io/lab/app", "docker.io/lab/app:latest", "lab/app:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("registry.lan:5000/a/b/c:V1", "registry.lan:5000/a/b/c:V1", "registry.lan:5000/a/b/c:V1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
    ],
)
def test_references_are_completed_as_docker_does(text: str, complete: str, familiar: str) -> None:
    reference = Reference.parse(text)

    assert f"{reference.repository}:{reference.tag}" == complete
    assert reference.familiar == familiar
    assert Reference.parse(complete) == reference


@pytest.mark.parametrize("text", ["a@sha256:12", "a@md5:" + "0" * 32, "a:@", "/a", "a/", "a:5000/", "a/B", "0" * 64])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidImageName):
        Reference.parse(text)


def test_many_pull_the_same_at_once(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server, oci_archive([*STACK, BIG]))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: pull(other, f"{server.address}/lab/app:1"), range(4)))

    assert {one.id for one in found} == {image.id}
