from __future__ import annotations

import json
import socket
from io import StringIO

import pytest

from netmodel.probe import Matrix, forget, matrix, matrix_json, matrix_table
from tests.netmodel.probe.lab import Lab

pytestmark = pytest.mark.kernel


def kinds(found: Matrix) -> dict[tuple[str, str], str]:
    return {
        (source, target): cell.kind
        for source, row in zip(found.names, found.cells, strict=True)
        for target, cell in zip(found.names, row, strict=True)
        if source != target
    }


@pytest.fixture
def three(lab: Lab) -> Lab:
    lab.segment("front", "10.1.0.1/24", "fd01::1/64")
    lab.segment("back", "10.2.0.1/24")
    lab.node("h1", front=("10.1.0.10/24", "fd01::10/64"))
    lab.node("h2", front=("10.1.0.11/24", "fd01::11/64"))
    lab.node("db", back="10.2.0.3/24")
    return lab


def test_who_reaches_whom(three: Lab) -> None:
    found = kinds(matrix(three.view()))

    silent = {pair for pair, kind in found.items() if kind == "silent"}
    assert silent == {("h1", "db"), ("h2", "db"), ("db", "h1"), ("db", "h2")}
    assert {kind for pair, kind in found.items() if pair not in silent} == {"reached"}


def test_over_ipv6_who_has_no_address_is_unknown(three: Lab) -> None:
    found = kinds(matrix(three.view(), family=6, host=False))

    assert found["h1", "h2"] == "reached"
    assert found["h1", "db"] == "unknown"
    assert found["db", "h1"] == "refused"


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_tells_open_from_closed(three: Lab, family: int) -> None:
    with three.boxes["h2"].open(lambda: socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)):
        found = kinds(matrix(three.view(), via="tcp", port=80, family=family, host=False))

    assert found["h1", "h2"] == "reached"
    assert found["h2", "h1"] == "closed"


def test_waves_change_nothing_and_leave_no_neighbours(three: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more pairs than neighbours may be made at once, the cells are the same and the caches as before."""
    three.boxes["h1"].run("ip", "neigh", "flush", "all")
    monkeypatch.setattr("netmodel.probe.volley.wave_size", lambda: 2)

    found = kinds(matrix(three.view()))

    assert sum(kind == "reached" for kind in found.values()) == 8
    assert three.boxes["h1"].run("ip", "neigh").stdout == ""
    assert forget.wave_size() >= 64


def test_output(three: Lab) -> None:
    found = matrix(three.view())
    out = StringIO()

    matrix_table(found, out)

    assert "8 of 12 reach (icmp" in out.getvalue()
    assert len(json.loads(json.dumps(matrix_json(found)))["cells"]) == 12
