"""Which containers a listing shows."""

from __future__ import annotations

import pytest

from netmodel.engine import Engine
from netmodel.errors import Invalid
from netmodel.model import ContainerConfig, HealthConfig, PortConfig
from tests.netmodel.engine.conftest import SLEEP, Run
from tests.netmodel.engine.shared import engine, host
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel


@pytest.fixture
def listed(engine: Engine, run: Run) -> Engine:
    """Three of them: one runs, is well and publishes a port, one has ended, one was never started."""
    published = (PortConfig(container_port=80),)
    run("web-1", health=HealthConfig(test=("CMD", "true")), ports=published, labels={"tier": "front"})
    run("job", command=("sh", "-c", "exit 3"), network_mode="none")
    exposed = (PortConfig(container_port=53, protocol="udp"),)
    engine.create_container(ContainerConfig(image="host", command=SLEEP, exposed_ports=exposed), "db")
    eventually(lambda: engine.container("web-1").state.health == "healthy")
    eventually(lambda: engine.container("job").state.status == "exited")
    return engine


EXPECTED: tuple[tuple[str, str, set[str]], ...] = (
    ("status", "exited", {"job"}),
    ("status", "created", {"db"}),
    ("exited", "3", {"job"}),
    ("exited", "0", set()),
    ("health", "healthy", {"web-1"}),
    ("health", "none", {"job", "db"}),
    ("label", "tier=front", {"web-1"}),
    ("label!", "tier", {"job", "db"}),
    ("name", "^web-[0-9]+$", {"web-1"}),
    ("name", "^/job$", {"job"}),
    ("name", "b", {"web-1", "job", "db"}),
    ("network", "none", {"job"}),
    ("network", "bridge", {"web-1", "db"}),
    ("ancestor", "host", {"web-1", "job", "db"}),
    ("before", "job", {"web-1"}),
    ("since", "job", {"db"}),
    ("publish", "80", {"web-1"}),
    ("publish", "70-90/tcp", {"web-1"}),
    ("expose", "53/udp", {"db"}),
    ("expose", "53", set()),
)


def test_every_filter(listed: Engine) -> None:
    for name, value, expected in EXPECTED:
        assert {one.name for one in listed.containers(filters={name: [value]})} == expected, (name, value)


def test_mistakes(listed: Engine) -> None:
    for name, value, word in (("colour", "red", "colour"), ("name", "(", "expression"), ("publish", "http", "port")):
        with pytest.raises(Invalid, match=word):
            listed.containers(filters={name: [value]})
