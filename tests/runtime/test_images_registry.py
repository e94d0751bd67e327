"""Pull and push against a real registry: there and back, and who may."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from runtime.images import BadImage, Images
from runtime.images.config import architecture
from runtime.images.manifest import Platform
from runtime.images.registry import Credentials, NotAuthorized
from tests.runtime.registry_lab import ANNA, BIG, Told, pull, push, pushed
from tests.runtime.test_images_load import SEEN, STACK, files, mounted, needs_skopeo, skopeo
from tests.support.box import Box
from tests.support.podman import needs_podman, podman
from tests.support.registry import (
    USER,
    Server,
    answer,
    basic,
    basic_header,
    in_between,
    needs_registry,
    registry,
)
from tests.support.tars import digest, docker_archive, oci_archive

pytestmark = [needs_registry, pytest.mark.kernel]


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


@pytest.mark.not_on("podman is not on its disk: what it reads are files, nothing of the kernel's", "uml")
@needs_podman
def test_podman_pushes_what_we_pull_and_pulls_what_we_push(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server)
    ours, theirs = f"{server.address}/lab/app:1", f"{server.address}/lab/podmans:1"
    with podman() as run:
        run("pull", "--tls-verify=false", ours)
        known = json.loads(run("image", "inspect", ours))[0]
        run("tag", ours, theirs)
        run("push", "--tls-verify=false", theirs)

    assert known["RootFS"]["Layers"] == [digest(one) for one in STACK]
    assert known["Config"]["Cmd"] == list(image.config.cmd)
    again = pull(other, theirs)
    assert again.config == image.config
    with mounted(again) as root:
        assert files(root) == SEEN


def test_what_is_listed_beside_an_image_is_none(store: Images, other: Images, server: Server) -> None:
    """Attestations and other artifacts come first here, and say that they are for this machine."""
    image = pushed(store, server)
    manifest = store.find(image.id).manifest
    kind, mine = "application/vnd.oci.image", {"os": "linux", "architecture": Platform(architecture()).architecture}
    entry = {"mediaType": f"{kind}.manifest.v1+json", "size": 2, "platform": mine}
    nothing = digest(b"{}")
    entries = [
        {**entry, "digest": nothing, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        {**entry, "digest": nothing, "artifactType": "application/spdx+json"},
        {**entry, "digest": nothing, "platform": {"os": "unknown", "architecture": "unknown"}},
        {**entry, "digest": manifest, "size": store.blobs.size(manifest)},
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": entries}).encode()

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if asked.path != "/v2/lab/app/manifests/attested":
            return False
        answer(asked, 200, index, Content_Type=f"{kind}.index.v1+json")
        return True

    with in_between(server.address, handle) as address:
        assert pull(other, f"{address}/lab/app:attested").id == image.id


@pytest.mark.parametrize(
    ("schema", "media_type", "complaint"),
    [
        (2, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "is foreign"),
        (2, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "is foreign"),
        (2, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "is encrypted"),
        (1, "application/vnd.docker.container.image.rootfs.diff+x-gtar", "schema 1"),
    ],
)
def test_kinds_that_are_refused_by_name(
    store: Images, other: Images, server: Server, schema: int, media_type: str, complaint: str
) -> None:
    pushed(store, server)
    blob = {"digest": digest(b"x"), "size": 1}
    layers = [{**blob, "mediaType": media_type, "urls": ["https://elsewhere.lan/layer"]}]
    content = json.dumps({"schemaVersion": schema, "config": blob, "layers": layers}).encode()

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if "/manifests/" not in asked.path:
            return False
        answer(asked, 200, content, Content_Type="application/vnd.docker.distribution.manifest.v2+json")
        return True

    with in_between(server.address, handle) as address, pytest.raises(BadImage, match=complaint):
        pull(other, f"{address}/lab/app:1")


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


def test_many_pull_the_same_at_once(store: Images, other: Images, server: Server) -> None:
    image = pushed(store, server, oci_archive([*STACK, BIG]))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: pull(other, f"{server.address}/lab/app:1"), range(4)))

    assert {one.id for one in found} == {image.id}


# --- who may ---------------------------------------------------------------------------------


def test_name_and_password(store: Images, other: Images, host: Box, tmp_path: Path) -> None:
    place = tmp_path / "private"
    with registry(place, basic(place)) as server:
        (image,) = store.load(oci_archive(STACK))
        name = f"{server.address}/lab/app:1"
        store.tag(image.id, name)

        with pytest.raises(NotAuthorized, match="a name and a password") as refusal:
            push(store, name)
        assert f"netmodel login {server.address}" in refusal.value.hint
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
