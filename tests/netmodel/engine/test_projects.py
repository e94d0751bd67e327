"""Projects stand, change and go; a failed one leaves nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netmodel.engine import Engine, Progress
from netmodel.errors import NetmodelError, NotFound
from netmodel.model import ContainerConfig, EndpointConfig, NetworkConfig, VolumeConfig
from netmodel.project import (
    CONFIG_HASH_LABEL,
    NETWORK_LABEL,
    PROJECT_LABEL,
    SERVICE_LABEL,
    Expectation,
    Project,
    ProjectNetwork,
    ProjectVolume,
    ServiceContainer,
)
from tests.netmodel.engine.conftest import SLEEP, execute
from tests.netmodel.engine.shared import engine, host
from tests.support.box import Box
from tests.support.wait import eventually

__all__ = ["engine", "host"]

pytestmark = pytest.mark.kernel

OURS = {PROJECT_LABEL: "shop", CONFIG_HASH_LABEL: "1"}
LAN = ProjectNetwork(key="lan", config=NetworkConfig(name="shop_lan", labels={**OURS, NETWORK_LABEL: "lan"}))


def service(name: str, *depends_on: str, **config: object) -> ServiceContainer:
    wanted = {
        "image": "host",
        "command": SLEEP,
        "labels": {**OURS, SERVICE_LABEL: name},
        "networks": (EndpointConfig(network="shop_lan", aliases=(name,)),),
        **config,
    }
    return ServiceContainer(
        service=name,
        number=1,
        name=f"shop-{name}-1",
        config=ContainerConfig(**wanted),
        depends_on=depends_on,  # type: ignore[arg-type]
    )


SHOP = Project(
    name="shop",
    networks=(LAN,),
    containers=(
        service("web", "app"),
        service("app", "db"),
        service("db"),
        service("probe", network_mode="service:web", networks=()),
    ),
    expectations=(Expectation(source="web", target="db", reachable=True),),
)


def test_up_makes_it_stand_in_order_and_again_changes_nothing(engine: Engine) -> None:
    steps: list[Progress] = []

    engine.up(SHOP, steps.append)

    started = [step.name for step in steps if step.kind == "container" and step.state == "done"]
    assert started.index("shop-db-1") < started.index("shop-app-1") < started.index("shop-web-1")
    assert steps[-1].done == steps[-1].total == 5
    assert execute(engine, "shop-web-1", "ping", "-c1", "-W1", "db")[0] == 0
    assert engine.container("shop-probe-1").sandbox == engine.container("shop-web-1").id
    before = engine.containers()

    again: list[Progress] = []
    engine.up(SHOP, again.append)

    assert engine.containers() == before
    assert {step.action for step in again} == {"keep"}


def test_the_view_tells_what_checks_need(engine: Engine) -> None:
    engine.up(SHOP)

    view = engine.project("shop")

    assert engine.projects() == ["shop"]
    assert [one.service for one in view.containers] == ["web", "app", "db", "probe"]
    assert [(one.key, one.network.name) for one in view.networks] == [("lan", "shop_lan")]
    assert view.expectations == SHOP.expectations
    web, probe = view.containers[0], view.containers[3]
    assert web.netns is not None
    assert probe.netns == web.netns
    assert probe.endpoints == web.endpoints


def test_a_change_remakes_only_what_changed(engine: Engine) -> None:
    engine.up(SHOP)
    db = engine.container("shop-db-1")
    changed = service(
        "web", "app", environment={"COLOUR": "red"}, labels={**OURS, SERVICE_LABEL: "web", CONFIG_HASH_LABEL: "2"}
    )
    project = replace(SHOP, containers=(changed, *SHOP.containers[1:3]))

    assert {(step.action, step.name) for step in engine.plan(project) if step.action != "keep"} == {
        ("recreate", "shop-web-1"),
        ("remove", "shop-probe-1"),
    }
    engine.up(project)

    assert engine.container("shop-db-1") == db
    assert "COLOUR" in engine.container("shop-web-1").config.environment
    with pytest.raises(NotFound):
        engine.container("shop-probe-1")


def test_a_failed_up_takes_back_what_it_made(engine: Engine, host: Box) -> None:
    # The loopback and the default bridge; what earlier tests had dies with its namespaces.
    links = eventually(lambda: (now := host.run("ip", "-o", "link").stdout).count("\n") == 2 and now)
    broken = replace(SHOP, containers=(service("db"), service("web", "db", command=("/no/such/program",))))
    steps: list[Progress] = []

    with pytest.raises(NetmodelError, match="/no/such/program"):
        engine.up(broken, steps.append)

    assert steps[-1].state == "failed"
    assert engine.containers() == []
    assert len(engine.networks()) == 3
    assert engine.projects() == []
    engine._core.reaper.drain()
    assert len(host.run("ip", "-o", "link").stdout.splitlines()) == len(links.splitlines())


def test_a_missing_image_is_found_before_anything_is_made(engine: Engine) -> None:
    steps: list[Progress] = []

    with pytest.raises(NetmodelError, match="no-such-image"):
        engine.up(replace(SHOP, containers=(service("web", image="no-such-image"),)), steps.append)

    assert steps == []
    assert len(engine.networks()) == 3


def test_down_leaves_nothing_but_the_volumes(engine: Engine) -> None:
    data = ProjectVolume(key="data", config=VolumeConfig(name="shop_data", labels=OURS))
    engine.up(replace(SHOP, volumes=(data,)))

    engine.down("shop")

    assert engine.containers() == []
    assert {network.name for network in engine.networks()} == {"bridge", "host", "none"}
    assert [volume.name for volume in engine.volumes()] == ["shop_data"]
    assert engine.projects() == []
    with pytest.raises(NotFound, match="no such project: shop"):
        engine.down("shop")

    engine.up(replace(SHOP, volumes=(data,)))
    engine.down("shop", volumes=True)
    assert engine.volumes() == []
