"""Blobs on their way to a registry that break off: what the registry has kept is not sent again."""

from __future__ import annotations

import random
import re
import socket
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import BinaryIO

import pytest

from runtime.images import Images
from runtime.images.blobs import digest_of
from runtime.images.registry import Registries, RegistryFailed, Repository, Transport, Upload
from tests.runtime.registry_lab import BIG, pull, push
from tests.support.registry import Handle, Server, answer, ask, body_of, in_between, needs_registry
from tests.support.tars import oci_archive

pytestmark = [needs_registry, pytest.mark.kernel]
CONTENT = random.Random(7).randbytes(1 << 20)
PIECE = 1 << 18


class Sender:
    """An upload of CONTENT in four pieces, and what of it was read to be sent."""

    def __init__(self, address: str, path: str) -> None:
        self.transport = Transport(Registries(), timeout_s=5)
        self.repository = Repository(self.transport, address, path, write=True)
        self.sent: list[tuple[int, int]] = []
        self.upload = Upload(self.repository, digest_of(CONTENT), self._content, len(CONTENT), PIECE)

    def _content(self, offset: int, length: int) -> BinaryIO:
        self.sent.append((offset, length))
        return BytesIO(CONTENT[offset : offset + length])

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    def arrived(self, server: Server) -> bool:
        return server.get(f"{self.repository.path}/blobs/{digest_of(CONTENT)}") == CONTENT


def drop(asked: BaseHTTPRequestHandler) -> None:
    """The connection is gone."""
    asked.close_connection = True
    asked.connection.shutdown(socket.SHUT_RDWR)


def once(method: str, number: int, act: Handle) -> Handle:
    """Go wrong at one request of a method, the rest passes."""
    count = 0

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        nonlocal count
        count += asked.command == method
        return asked.command == method and count == number and act(asked)

    return handle


def test_it_goes_in_pieces(server: Server) -> None:
    with Sender(server.address, "up/pieces") as sender:
        sender.upload.go_on()

    assert sender.sent == [(offset, PIECE) for offset in range(0, 1 << 20, PIECE)]
    assert sender.arrived(server)


def test_it_goes_on_after_the_last_piece_that_arrived(server: Server) -> None:
    """The third is lost before the registry sees any of it; the first two are not sent again."""

    def lose(asked: BaseHTTPRequestHandler) -> bool:
        body_of(asked)
        drop(asked)
        return True

    with in_between(server.address, once("PATCH", 3, lose)) as address, Sender(address, "up/lost") as sender:
        with pytest.raises(RegistryFailed) as broken:
            sender.upload.go_on()
        assert broken.value.again
        assert sender.upload.reached == 2 * PIECE

        sender.upload.go_on()

    assert [offset for offset, _ in sender.sent] == [0, PIECE, 2 * PIECE, 2 * PIECE, 3 * PIECE]
    assert sender.arrived(server)


def test_it_goes_on_within_a_piece_where_the_registry_keeps_what_came(server: Server) -> None:
    """The server in between passes half of a piece on, and tells when it is asked how far that came."""
    moved: list[str] = []

    def halve(asked: BaseHTTPRequestHandler) -> bool:
        body = body_of(asked)[: PIECE // 2]
        asked.headers.replace_header("Content-Range", f"{PIECE}-{PIECE + PIECE // 2 - 1}")
        _, told, _ = ask(asked, server.address, body)
        moved.append(told["Location"])
        drop(asked)
        return True

    broken = once("PATCH", 2, halve)

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        if asked.command == "GET" and "/uploads/" in asked.path and moved:
            asked.path = moved[0]
        return broken(asked)

    with in_between(server.address, handle) as address, Sender(address, "up/half") as sender:
        with pytest.raises(RegistryFailed):
            sender.upload.go_on()
        sender.upload.go_on()

    assert [offset for offset, _ in sender.sent][:3] == [0, PIECE, PIECE + PIECE // 2]
    assert sender.arrived(server)


def test_a_registry_that_has_forgotten_gets_it_again(server: Server) -> None:
    """As Docker's own does when a piece breaks off in its middle: it does not know any more how far it came."""

    def cut(asked: BaseHTTPRequestHandler) -> bool:
        ask(asked, server.address, body_of(asked)[: PIECE // 2])
        drop(asked)
        return True

    with in_between(server.address, once("PATCH", 2, cut)) as address, Sender(address, "up/forgotten") as sender:
        with pytest.raises(RegistryFailed):
            sender.upload.go_on()
        sender.upload.go_on()

    assert [offset for offset, _ in sender.sent] == [0, PIECE, 0, PIECE, 2 * PIECE, 3 * PIECE]
    assert sender.arrived(server)


def test_pieces_are_as_large_as_the_registry_wants_them(server: Server) -> None:
    def begin(asked: BaseHTTPRequestHandler) -> bool:
        _, told, _ = ask(asked, server.address)
        answer(asked, 202, Location=told["Location"], OCI_Chunk_Min_Length=str(3 * PIECE))
        return True

    with in_between(server.address, once("POST", 1, begin)) as address, Sender(address, "up/least") as sender:
        sender.upload.go_on()

    assert sender.sent == [(0, 3 * PIECE), (3 * PIECE, PIECE)]
    assert sender.arrived(server)


def test_a_push_gets_over_a_registry_that_breaks_off(
    store: Images, other: Images, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is there already, it finds by asking: nothing is sent twice."""
    monkeypatch.setattr("runtime.images.distribution.attempts._FIRST_S", 0.01)
    asked_for: list[str] = []

    def lose(asked: BaseHTTPRequestHandler) -> bool:
        body_of(asked)
        drop(asked)
        return True

    broken = once("PUT", 1, lose)

    def handle(asked: BaseHTTPRequestHandler) -> bool:
        asked_for.append(f"{asked.command} {re.sub('[?].*', '', asked.path)}")
        return broken(asked)

    (image,) = store.load(oci_archive([BIG]))
    with in_between(server.address, handle) as address:
        name = f"{address}/up/app:1"
        store.tag(image.id, name)
        push(store, name)
        first = len(asked_for)
        push(store, name)

        assert not [one for one in asked_for[first:] if one.startswith(("POST", "PATCH")) or "/uploads/" in one]
        assert pull(other, name).id == image.id
