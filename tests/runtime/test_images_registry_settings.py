"""What an operator says about registries: mirrors, plain HTTP, proxies."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from runtime.errors import InvalidSpec
from runtime.images import Images
from runtime.images.registry import Registries, RegistryFailed, Transport
from runtime.images.registry.errors import PlainRefused
from tests.runtime.registry_lab import ANNA, pull, pushed
from tests.support.box import Box
from tests.support.registry import (
    Server,
    answer,
    in_between,
    needs_registry,
)

pytestmark = [needs_registry, pytest.mark.kernel]


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


@pytest.mark.not_on("it lacks nftables' ip family", "uml")
def test_plain_http_is_for_loopback_and_for_those_named(
    store: Images, other: Images, lan: tuple[Box, Server], server: Server
) -> None:
    image, host = pushed(store, server), lan[0]
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
